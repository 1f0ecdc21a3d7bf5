"""Whether an expectation has come true on the telephone, and if not, what is instead."""

from collections.abc import Iterator
from typing import Any

import msgspec

from vocelio.engine import actions
from vocelio.engine.scenario.steps import Expectation, Sent
from vocelio.engine.scenario.virtual_phone import Phone

MISSING = "not set"


class Mismatch(msgspec.Struct, frozen=True):
    """``what`` was to be ``expected`` and is ``found``."""

    what: str
    expected: str
    found: str


def unmet(phone: Phone, wanted: Expectation) -> list[Mismatch]:
    """What has not come true; empty when all has."""
    return list(_unmet(phone, wanted))


def plain(text: str) -> str:
    """Without case and spacing."""
    return " ".join(text.casefold().split())


def _unmet(phone: Phone, wanted: Expectation) -> Iterator[Mismatch]:
    if wanted.node is not None:
        yield from _compared("node", wanted.node, phone.node)
    if wanted.outcome is not None:
        yield from _compared("outcome", wanted.outcome, phone.session.outcome or "the call goes on")
    if wanted.disposition is not None:
        ended = _last(phone, actions.HangUp)
        yield from _compared("disposition", wanted.disposition, ended.disposition if ended else "the call goes on")
    for name in ("department", "number", "sip"):
        expected = getattr(wanted, name)
        if expected is not None:
            whom = _last(phone, actions.Transfer, actions.Queue)
            yield from _compared(name, expected, getattr(whom, name, "") or "none")
    if wanted.variables:
        held = phone.variables()
        for name, expected in wanted.variables.items():
            yield from _compared(f"variable {name}", expected, held.get(name, MISSING))
    if wanted.request is not None:
        yield from _request(wanted.request, _last(phone, actions.Request))


def _request(wanted: Sent, sent: Any) -> Iterator[Mismatch]:
    if sent is None:
        yield Mismatch("request", "one was sent", "none")
        return
    for name in ("method", "url"):
        expected = getattr(wanted, name)
        if expected is not None:
            yield from _compared(f"request {name}", expected, getattr(sent, name))
    if wanted.json is not None and not _within(wanted.json, sent.json):
        yield Mismatch("request json", _shown(wanted.json), _shown(sent.json))
    for name, expected in wanted.headers.items():
        yield from _compared(f"request header {name}", expected, sent.headers.get(name, MISSING))


def _last(phone: Phone, *kinds: type[actions.AnyAction]) -> Any:
    for exchange in reversed(phone.exchanges):
        for action in reversed(exchange.actions):
            if isinstance(action, kinds):
                return action
    return None


def _compared(what: str, expected: Any, found: Any) -> Iterator[Mismatch]:
    if not _equal(expected, found):
        yield Mismatch(what, _shown(expected), _shown(found))


def _equal(expected: Any, found: Any) -> bool:
    return bool(expected == found) and isinstance(expected, bool) == isinstance(found, bool)


def _within(part: Any, whole: Any) -> bool:
    """Whether all that ``part`` names is so in ``whole``; lists are compared in full."""
    if isinstance(part, dict) and isinstance(whole, dict):
        return all(key in whole and _within(value, whole[key]) for key, value in part.items())
    return _equal(part, whole)


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
