"""Whom a tenant's settings and flows name to be rung, checked when they are saved.

These checks are for whoever makes the settings: what they let through is looked at again when a call is about to be
put through, by the number that was called then. The engine knows nothing of telephone networks, so what its flows
name is checked here.
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

AREA_PREFIX_LENGTH = 5  # "+1307": one number of each such area shows which countries a tenant's numbers are in
MAX_AREAS = 1_000


class DialContext(NamedTuple):
    """What a tenant allows. ``home``: see destinations; ``own`` are those of its numbers that matter."""

    rules: DialRules
    home_countries: HomeCountries
    own_numbers: frozenset[str] = frozenset()


class DialTarget(NamedTuple):
    """A field of a transfer in a flow's document."""

    path: str
    field: str
    value: str


class _FlowNodes(msgspec.Struct, frozen=True):
    nodes: dict[str, Any] = {}


def find_targets(document: bytes) -> list[DialTarget]:
    """What the transfers of a flow name, as far as the document can be read."""
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
    """The countries of a tenant's numbers; None while it has none."""
    return frozenset(map(dial_rules.country_of, phone_numbers)) - {""} or None


# The checks


def check_number(context: DialContext, path: str, number: str) -> Iterator[Diagnostic]:
    """Whether a number, or a SIP address, may be rung."""
    refusal = dial_rules.check_destination(context.rules, number, context.home_countries)
    if refusal:
        yield Diagnostic(path, "destination", f"{refusal.message}, which is not allowed", refusal.hint)


def check_department(context: DialContext, department: Department) -> list[Diagnostic]:
    """What is wrong with whom a department rings, and what it tells them."""
    found = [
        problem
        for place, number in enumerate(department.numbers)
        for problem in check_number(context, f"numbers[{place}]", number)
    ]
    return [*found, *whisper.check_whisper(department.whisper)]


def check_flow(
    context: DialContext, departments: Mapping[str, Department], targets: Iterable[DialTarget]
) -> Iterator[Diagnostic]:
    """What is wrong with whom a flow's transfers ring, and with the numbers that they show."""
    for path, field, value in targets:
        match field:
            case "number" if E164_PATTERN.fullmatch(value):
                yield from check_number(context, path, value)
            case "sip" if SIP_URI_PATTERN.fullmatch(value):
                yield from check_number(context, path, value)
            case "caller_id" if E164_PATTERN.fullmatch(value) and value not in context.own_numbers:
                message = f"{value} is none of the tenant's numbers, so it cannot be shown"
                yield Diagnostic(path, "caller-id", message, "leave it out to show the caller's own number")
            case "department" if value in departments:
                yield from _check_reachable(context, path, value, departments[value])
            case _:
                pass  # the engine has told what is wrong with it


def _check_reachable(context: DialContext, path: str, name: str, department: Department) -> Iterator[Diagnostic]:
    """A department is left as it is when settings become stricter."""
    if all(
        dial_rules.check_destination(context.rules, number, context.home_countries) for number in department.numbers
    ):
        message = f"none of the numbers of `{truncate(name)}` may be rung any more"
        yield Diagnostic(
            path, "destination", message, "change the department's numbers, or the tenant's `allowed_countries`"
        )
