"""Checks of the destinations in settings and flows, when they are saved.

They are feedback for the author: each transfer is checked again during the call, against the number that was called.
The engine knows nothing about telephone networks, so the destinations in its flows are checked here.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import msgspec

from vocelio.engine.call_info import E164_PATTERN
from vocelio.engine.diagnostics import Diagnostic, truncate
from vocelio.engine.nodes.transfer import SIP_URI_PATTERN
from vocelio.gateway.dialing import rules as dial_rules
from vocelio.gateway.dialing import whisper
from vocelio.gateway.dialing.rules import HomeCountries
from vocelio.gateway.model.tenant import Department, DialRules

AREA_PREFIX_LENGTH = 5  # "+1307": one number per area code is enough to know the countries of a tenant's numbers
MAX_AREAS = 1_000


class DialContext(NamedTuple):
    """What a tenant allows. ``own_numbers`` are those of its numbers that the checked document names."""

    rules: DialRules
    home_countries: HomeCountries
    own_numbers: frozenset[str] = frozenset()


class DialTarget(NamedTuple):
    """A destination or caller id in a transfer node of a flow document."""

    path: str
    field: str
    value: str


class _FlowNodes(msgspec.Struct, frozen=True):
    nodes: dict[str, Any] = {}


def find_targets(document: bytes) -> list[DialTarget]:
    """Return the fields of all transfer nodes, as far as the document can be decoded."""
    try:
        nodes = msgspec.json.decode(document, type=_FlowNodes).nodes
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return []
    return [
        DialTarget(f"nodes.{truncate(name)}.{field}", field, value)
        for name, node in nodes.items()
        if isinstance(node, dict) and node.get("type") == "transfer"
        for field in ("number", "sip", "caller_id", "department")
        if isinstance(value := node.get(field), str)
    ]


def find_home_countries(phone_numbers: Iterable[str]) -> HomeCountries:
    """Return the countries of a tenant's numbers; None if it has no numbers."""
    return frozenset(map(dial_rules.country_of, phone_numbers)) - {""} or None


# The checks


def check_number(context: DialContext, path: str, number: str) -> Iterator[Diagnostic]:
    """Check a number or SIP address."""
    rejection = dial_rules.check_destination(context.rules, number, context.home_countries)
    if rejection:
        yield Diagnostic(path, "destination", f"{rejection.message}, which is not allowed", rejection.hint)


def check_department(context: DialContext, department: Department) -> list[Diagnostic]:
    """Check the numbers and the whisper of a department."""
    diagnostics = [
        diagnostic
        for index, number in enumerate(department.numbers)
        for diagnostic in check_number(context, f"numbers[{index}]", number)
    ]
    return [*diagnostics, *whisper.check_whisper(department.whisper)]


def check_flow(
    context: DialContext, departments: Mapping[str, Department], targets: Iterable[DialTarget]
) -> Iterator[Diagnostic]:
    """Check the destinations and caller ids of a flow's transfers."""
    for path, field, value in targets:
        match field:
            case "number" if E164_PATTERN.fullmatch(value):
                yield from check_number(context, path, value)
            case "sip" if SIP_URI_PATTERN.fullmatch(value):
                yield from check_number(context, path, value)
            case "caller_id" if E164_PATTERN.fullmatch(value) and value not in context.own_numbers:
                message = f"{value} is not one of the tenant's numbers, so it cannot be shown"
                yield Diagnostic(path, "caller-id", message, "leave it out to show the caller's own number")
            case "department" if value in departments:
                yield from _check_reachable(context, path, value, departments[value])
            case _:
                pass  # reported by the engine's own checks


def _check_reachable(context: DialContext, path: str, name: str, department: Department) -> Iterator[Diagnostic]:
    """Check that a department has an allowed number: departments are not changed when settings become stricter."""
    if all(
        dial_rules.check_destination(context.rules, number, context.home_countries) for number in department.numbers
    ):
        message = f"none of the numbers of `{truncate(name)}` is allowed any more"
        yield Diagnostic(
            path, "destination", message, "change the department's numbers, or the tenant's `allowed_countries`"
        )
