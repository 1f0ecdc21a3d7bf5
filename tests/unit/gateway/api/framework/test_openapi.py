"""The description: what it must have whatever the table says."""

import asyncio
import json
import re

import pytest

from vocelio.gateway.api.framework.decoding import HandlerSignature
from vocelio.gateway.api.routes import OPERATIONS, get_openapi
from vocelio.gateway.model.roles import PERMISSIONS, includes

DOCUMENT = json.loads(asyncio.run(get_openapi(None)).body)
DESCRIBED = {
    (method.upper(), path): operation
    for path, methods in DOCUMENT["paths"].items()
    for method, operation in methods.items()
}


def find_references(value):
    if isinstance(value, dict):
        yield from (inner for name, inner in value.items() if name == "$ref")
        value = list(value.values())
    if isinstance(value, list):
        for inner in value:
            yield from find_references(inner)


def test_it_has_every_operation():
    assert set(DESCRIBED) == {(row.method, row.path) for row in OPERATIONS}


def test_every_operation_has_a_name_of_its_own_and_a_summary():
    assert len({operation["operationId"] for operation in DESCRIBED.values()}) == len(OPERATIONS)
    assert all(operation["summary"].endswith(".") for operation in DESCRIBED.values())


def test_names_of_operations_and_schemas_become_readable_names_of_a_generated_client():
    assert all(re.fullmatch("[a-z]+(_[a-z]+)+", operation["operationId"]) for operation in DESCRIBED.values())
    assert all(re.fullmatch("([A-Z][a-z]+)+", name) for name in DOCUMENT["components"]["schemas"])
    assert {"list_flows", "get_call", "create_key"} <= {row["operationId"] for row in DESCRIBED.values()}


def test_every_reference_leads_somewhere():
    for reference in find_references(DOCUMENT):
        result = DOCUMENT
        for part in reference.removeprefix("#/").split("/"):
            result = result[part]


def test_parts_of_paths_are_what_handlers_take():
    for row in OPERATIONS:
        assert re.findall(r"{(\w+)}", row.path) == list(HandlerSignature(row.handler).path_params), row.path


@pytest.mark.parametrize("row", OPERATIONS, ids=lambda row: f"{row.method} {row.path}")
def test_an_operation_says_how_it_can_be_refused(row):
    statuses = set(DESCRIBED[row.method, row.path]["responses"])
    assert (row.permission is None) == ("401" not in statuses)
    assert (HandlerSignature(row.handler).body_type is None) == ("415" not in statuses)
    assert row.conditional == ("412" in statuses)


def test_nobody_but_the_platform_is_open_to_everything():
    assert [role for role in PERMISSIONS if includes(role, "platform")] == ["platform"]
    assert all(includes("platform", role) and includes(role, "viewer") for role in PERMISSIONS)
    assert not includes("operator", "designer")
    assert not includes("designer", "operator")


def test_changes_need_more_than_reading():
    reading = {(row.method, row.path) for row in OPERATIONS if row.method != "GET" and row.permission in (None, "read")}
    assert reading == {("POST", "/v1/flows/{flow}/validate"), ("POST", "/v1/events/tickets")}
