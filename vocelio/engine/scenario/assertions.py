"""Assertions of scenarios: compare an expectation with the state of the virtual phone."""

from collections.abc import Iterator
from typing import Any

import msgspec

from vocelio.engine import actions
from vocelio.engine.scenario.steps import Expectation, RequestExpectation
from vocelio.engine.scenario.virtual_phone import VirtualPhone

NOT_SET = "not set"


class Mismatch(msgspec.Struct, frozen=True):
    """A failed comparison."""

    subject: str
    expected: str
    actual: str


def failed_expectations(phone: VirtualPhone, expectation: Expectation) -> list[Mismatch]:
    """List the parts of the expectation that do not hold."""
    return list(_iter_mismatches(phone, expectation))


def normalize(text: str) -> str:
    """Fold case and whitespace."""
    return " ".join(text.casefold().split())


def _iter_mismatches(phone: VirtualPhone, expectation: Expectation) -> Iterator[Mismatch]:
    if expectation.node is not None:
        yield from _compare("node", expectation.node, phone.node)
    if expectation.outcome is not None:
        yield from _compare("outcome", expectation.outcome, phone.session.outcome or "the call is in progress")
    if expectation.disposition is not None:
        hangup = _last_action(phone, actions.HangUp)
        disposition = hangup.disposition if hangup else "the call is in progress"
        yield from _compare("disposition", expectation.disposition, disposition)
    for name in ("department", "number", "sip"):
        expected = getattr(expectation, name)
        if expected is not None:
            target = _last_action(phone, actions.Transfer, actions.Queue)
            yield from _compare(name, expected, getattr(target, name, "") or "none")
    if expectation.variables:
        variables = phone.variables()
        for name, expected in expectation.variables.items():
            yield from _compare(f"variable {name}", expected, variables.get(name, NOT_SET))
    if expectation.request is not None:
        yield from _compare_request(expectation.request, _last_action(phone, actions.Request))


def _compare_request(expected_request: RequestExpectation, sent: Any) -> Iterator[Mismatch]:
    if sent is None:
        yield Mismatch("request", "a request", "none")
        return
    for name in ("method", "url"):
        expected = getattr(expected_request, name)
        if expected is not None:
            yield from _compare(f"request {name}", expected, getattr(sent, name))
    if expected_request.json is not None and not _is_subset(expected_request.json, sent.json):
        yield Mismatch("request json", _format_value(expected_request.json), _format_value(sent.json))
    for name, expected in expected_request.headers.items():
        yield from _compare(f"request header {name}", expected, sent.headers.get(name, NOT_SET))


def _last_action(phone: VirtualPhone, *kinds: type[actions.AnyAction]) -> Any:
    for exchange in reversed(phone.exchanges):
        for action in reversed(exchange.actions):
            if isinstance(action, kinds):
                return action
    return None


def _compare(subject: str, expected: Any, actual: Any) -> Iterator[Mismatch]:
    if not _equal(expected, actual):
        yield Mismatch(subject, _format_value(expected), _format_value(actual))


def _equal(expected: Any, actual: Any) -> bool:
    return bool(expected == actual) and isinstance(expected, bool) == isinstance(actual, bool)


def _is_subset(part: Any, whole: Any) -> bool:
    """Whether ``whole`` contains every key of ``part`` with an equal value; lists are compared in full."""
    if isinstance(part, dict) and isinstance(whole, dict):
        return all(key in whole and _is_subset(value, whole[key]) for key, value in part.items())
    return _equal(part, whole)


def _format_value(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
