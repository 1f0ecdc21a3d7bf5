"""docs/api.md describes the API as it is: operations, permissions, error statuses and the form of errors."""

import json
import re
from pathlib import Path

import msgspec

from vocelio.gateway.api.framework.openapi import ERROR_DESCRIPTIONS
from vocelio.gateway.api.framework.problem_details import REASON_PHRASES, STATUSES, ProblemDetails
from vocelio.gateway.api.routes import OPERATIONS
from vocelio.gateway.api.websockets.endpoints import WEBSOCKET_ACCESS_RULES
from vocelio.gateway.model.roles import PERMISSIONS

DOCUMENT = (Path(__file__).parents[3] / "docs" / "api.md").read_text()


def table(first_column):
    """The rows of the table that begins with that column, without backquotes."""
    result = re.search(rf"^\| {first_column} \|.*\n\| ---.*\n((?:\|.*\n)+)", DOCUMENT, re.MULTILINE)
    return [
        [cell.strip() for cell in line.replace("`", "").strip("|").split("|")]
        for line in result[1].strip().splitlines()
    ]


def test_every_operation_is_in_the_table_with_its_permission_and_summary():
    expected = [
        [
            f"{row.method} {row.path}",
            row.permission or "-",
            row.handler.__name__,
            row.handler.__doc__.partition("\n")[0].replace("`", ""),
        ]
        for row in OPERATIONS
    ]
    assert table("request") == expected


def test_every_role_is_in_the_table_with_its_permissions():
    assert {role: frozenset(permissions.split(", ")) for role, permissions, _ in table("role")} == PERMISSIONS


def test_every_error_status_is_in_the_table_and_the_openapi_document():
    assert [status for status, _ in table("status")] == [
        f"{s} {REASON_PHRASES[s]}" for s in sorted(set(STATUSES.values()))
    ]
    assert set(ERROR_DESCRIPTIONS) == set(STATUSES.values())


def test_example_of_an_error_has_the_fields_of_problem_details():
    (example,) = re.findall(r"```json\n(.*?)```", DOCUMENT, re.DOTALL)
    problem = msgspec.convert(json.loads(example), ProblemDetails)
    assert set(json.loads(example)) == set(ProblemDetails.__struct_fields__)
    assert problem.title == REASON_PHRASES[problem.status]


def test_every_websocket_is_described():
    assert {path for path in WEBSOCKET_ACCESS_RULES if f"`{path}`" not in DOCUMENT} == set()
