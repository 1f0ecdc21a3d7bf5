"""Whom a tenant's settings and flows name to be rung, checked when they are saved.

These checks are for whoever makes the settings: what they let through is looked at again when a call is about to be
put through, by the number that was called then. The engine knows nothing of telephone networks, so what its flows
name is checked here.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import msgspec

from vocelio.engine.call_info import E164
from vocelio.engine.diagnostics import Problem, short
from vocelio.engine.nodes.transfer import SIP
from vocelio.gateway.dialing import rules as dial_rules
from vocelio.gateway.dialing import whisper
from vocelio.gateway.dialing.rules import Home
from vocelio.gateway.model.tenant import Department, Reach

PLACE_DIGITS = 5  # "+1307": one number of each such area shows which countries a tenant's numbers are in
MAX_AREAS = 1_000


class Rules(NamedTuple):
    """What a tenant allows. ``home``: see destinations; ``own`` are those of its numbers that matter."""

    reach: Reach
    home: Home
    own: frozenset[str] = frozenset()


class Named(NamedTuple):
    """A field of a transfer in a flow's document."""

    path: str
    field: str
    value: str


class _Nodes(msgspec.Struct, frozen=True):
    nodes: dict[str, Any] = {}


def named(document: bytes) -> list[Named]:
    """What the transfers of a flow name, as far as the document can be read."""
    try:
        nodes = msgspec.json.decode(document, type=_Nodes).nodes
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return []
    return [
        Named(f"nodes.{short(name)}.{field}", field, value)
        for name, node in nodes.items()
        if isinstance(node, dict) and node.get("type") == "transfer"
        for field in ("number", "sip", "caller_id", "department")
        if isinstance(value := node.get(field), str)
    ]


def home_of(own: Iterable[str]) -> Home:
    """The countries of a tenant's numbers; None while it has none."""
    return frozenset(map(dial_rules.region, own)) - {""} or None


# The checks


def of_number(rules: Rules, path: str, number: str) -> Iterator[Problem]:
    """Whether a number, or a SIP address, may be rung."""
    refusal = dial_rules.refused(rules.reach, number, rules.home)
    if refusal:
        yield Problem(path, "destination", f"{refusal.message}, which is not allowed", refusal.hint)


def of_department(rules: Rules, department: Department) -> list[Problem]:
    """What is wrong with whom a department rings, and what it tells them."""
    found = [
        problem
        for place, number in enumerate(department.numbers)
        for problem in of_number(rules, f"numbers[{place}]", number)
    ]
    return [*found, *whisper.problems(department.whisper)]


def of_flow(rules: Rules, departments: Mapping[str, Department], fields: Iterable[Named]) -> Iterator[Problem]:
    """What is wrong with whom a flow's transfers ring, and with the numbers that they show."""
    for path, field, value in fields:
        match field:
            case "number" if E164.fullmatch(value):
                yield from of_number(rules, path, value)
            case "sip" if SIP.fullmatch(value):
                yield from of_number(rules, path, value)
            case "caller_id" if E164.fullmatch(value) and value not in rules.own:
                message = f"{value} is none of the tenant's numbers, so it cannot be shown"
                yield Problem(path, "caller-id", message, "leave it out to show the caller's own number")
            case "department" if value in departments:
                yield from _unreachable(rules, path, value, departments[value])
            case _:
                pass  # the engine has told what is wrong with it


def _unreachable(rules: Rules, path: str, name: str, department: Department) -> Iterator[Problem]:
    """A department is left as it is when settings become stricter."""
    if all(dial_rules.refused(rules.reach, number, rules.home) for number in department.numbers):
        message = f"none of the numbers of `{short(name)}` may be rung any more"
        yield Problem(path, "destination", message, "change the department's numbers, or the tenant's `countries`")
