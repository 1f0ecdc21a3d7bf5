"""Runs scenarios: the script's steps on a virtual telephone, until one of them cannot be done or does not come true.

A polite caller does something only when the flow waits for it; ``interrupts`` is for the others. An expectation may
come true at any time before the flow waits for somebody, so nothing is said about how many sentences lie between.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta

import msgspec

from vocelio.engine import actions, events
from vocelio.engine.call_info import CallFacts, TenantFacts
from vocelio.engine.call_log.exchange import Exchange
from vocelio.engine.flow import FlowVersion
from vocelio.engine.replay.transcript import did
from vocelio.engine.scenario import steps
from vocelio.engine.scenario.assertions import Mismatch, plain, unmet
from vocelio.engine.scenario.steps import Given, Scenario
from vocelio.engine.scenario.stubs import ENDED_BY, fits
from vocelio.engine.scenario.virtual_phone import Phone, Restless

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Failure(msgspec.Struct, frozen=True):
    """The step that could not be done, or did not come true; ``node`` and ``waits`` say where the call then was."""

    line: int
    step: str
    mismatches: tuple[Mismatch, ...]
    node: str
    waits: str


class Result(msgspec.Struct, frozen=True):
    """What a scenario came to.

    ``spans``: when each step's turn came and when it was done; ``problems`` are the flow's own notes.
    """

    scenario: Scenario
    failure: Failure | None
    exchanges: tuple[Exchange, ...]
    spans: tuple[tuple[float, float], ...]
    seconds: float
    problems: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether everything came true."""
        return self.failure is None


class _Unmet(Exception):
    """A step that does not fit the call."""

    def __init__(self, *mismatches: Mismatch) -> None:
        super().__init__()
        self.mismatches = mismatches


def run(version: FlowVersion, scenario: Scenario) -> Result:
    """One scenario, start to end."""
    phone = Phone(as_given(version, scenario.given), facts(scenario.given), scenario.given.nodes)
    spans = list[tuple[float, float]]()
    failure = None
    for placed in scenario.steps:
        failure = _attempt(phone, placed, last=len(spans) == len(scenario.steps) - 1)
        if failure:
            break
        spans.append((phone.turn, phone.now))
    problems = tuple(dict.fromkeys(_problems(phone.exchanges)))
    return Result(scenario, failure, tuple(phone.exchanges), tuple(spans), phone.now, problems)


def _attempt(phone: Phone, placed: steps.Placed, last: bool) -> Failure | None:
    """Do a step. After the last one the flow goes on by itself as far as it can."""
    try:
        _do(phone, placed.step)
        if last:
            _rest(phone)
    except _Unmet as error:
        return _failure(phone, placed, error.mismatches)
    except Restless as error:
        return _failure(phone, placed, (Mismatch("the flow", "comes to rest", str(error)),))
    return None


def facts(given: Given) -> CallFacts:
    """What the flow may know of the scenario's call."""
    whose = given.tenant
    return CallFacts(
        call="scenario",
        caller=given.caller,
        number=given.number,
        tenant=TenantFacts(whose.id, whose.name, whose.variables, whose.time_zone),
        started=(given.at - EPOCH) // timedelta(microseconds=1),
        seed=given.seed,
        departments=given.departments,
        hours=given.hours,
    )


def as_given(version: FlowVersion, given: Given) -> FlowVersion:
    """The version as the scenario runs it: with the variables that are given."""
    if not given.variables:
        return version
    flow = msgspec.structs.replace(version.flow, variables=version.flow.variables | given.variables)
    return msgspec.structs.replace(version, flow=flow)


def _failure(phone: Phone, placed: steps.Placed, mismatches: Sequence[Mismatch]) -> Failure:
    return Failure(placed.line, steps.step_text(placed.step), tuple(mismatches), phone.node, waits_for(phone))


def _problems(exchanges: Iterable[Exchange]) -> Iterable[str]:
    for exchange in exchanges:
        for action in exchange.actions:
            if isinstance(action, actions.Note) and action.type == "flow.problem":
                yield f"{action.data.get('node', '')}: {action.data.get('problem', '')}"


# One step


def _do(phone: Phone, step: steps.AnyStep) -> None:
    match step:
        case steps.Hears(hears=text):
            _hears(phone, text)
        case steps.Expect(expect=wanted):
            if not _until(phone, lambda: not unmet(phone, wanted)):
                raise _Unmet(*unmet(phone, wanted))
        case steps.Says(says=text, partial=partial):
            _turn(phone, step.interrupts)
            phone.says(text, (partial,) if isinstance(partial, str) else partial, step.confidence)
        case steps.Mumbles():
            _turn(phone, step.interrupts)
            phone.says("")
        case steps.Presses(presses=keys):
            _turn(phone, step.interrupts)
            phone.presses(keys)
        case steps.Silent(silent=long):
            _silent(phone, long)
        case steps.HangsUp():
            _alive(phone)
            phone.feed(events.CallEnded(phone.now))
        case steps.Reconnects():
            _alive(phone)
            phone.reconnects()
        case steps.Operator(operator=command, value=value):
            _alive(phone)
            phone.said.clear()
            phone.feed(events.Commanded(phone.now, command, value))
        case steps.Transfer() | steps.Queue() | steps.Reply() | steps.Recording():
            _outside(phone, step)


def _until(phone: Phone, true: Callable[[], bool]) -> bool:
    """Let the call go on until it is true; False when it waits for somebody, or ended, before."""
    while not true():
        if not phone.advance():
            return False
    return True


def _rest(phone: Phone) -> None:
    """Let the call go on until it waits for somebody, or has ended."""
    _until(phone, lambda: False)


def _hears(phone: Phone, text: str) -> None:
    wanted = plain(text)
    if not _until(phone, lambda: wanted in plain(" ".join(phone.said))):
        raise _Unmet(Mismatch("the caller hears", text, " ".join(phone.said) or "nothing"))


def _alive(phone: Phone) -> None:
    if phone.session.ended:
        raise _Unmet(Mismatch("the call", "goes on", f"has ended: {phone.session.outcome}"))


def _turn(phone: Phone, interrupts: bool | float) -> None:
    """The caller's turn: when the flow waits for it, or so far into a prompt."""
    if interrupts is False:
        _rest(phone)
        if phone.pending:
            raise _Unmet(Mismatch("the flow", "waits for the caller", f"waits for {waits_for(phone)}"))
    elif phone.playing:
        into = steps.OVER_A_PROMPT if interrupts is True else interrupts
        phone.sleep(max(0.0, into - phone.playing_for))
    _alive(phone)
    phone.turn = phone.now


def _silent(phone: Phone, long: bool | float) -> None:
    _rest(phone)
    _alive(phone)
    phone.turn = phone.now
    phone.said.clear()
    if long is not True:
        phone.sleep(long)
        return
    before = len(phone.exchanges)
    while not _noticed(phone.exchanges[before:]):
        if not phone.fire():
            raise _Unmet(Mismatch("the flow", "does something by itself", f"waits for {waits_for(phone)}"))


def _noticed(exchanges: Iterable[Exchange]) -> bool:
    return any(did(action) or _entered(action) for exchange in exchanges for action in exchange.actions)


def _entered(action: actions.AnyAction) -> bool:
    return isinstance(action, actions.Note) and action.type == "node.entered"


def _outside(phone: Phone, how: steps.OutsideStep) -> None:
    """A step goes before what is given for the node."""
    if not _until(phone, lambda: not phone.playing and phone.pending is not None and fits(how, phone.pending)):
        kind = how.__struct_fields__[0]
        raise _Unmet(Mismatch("the flow", f"waits for a {kind}", f"waits for {waits_for(phone)}"))
    phone.said.clear()
    phone.ends(how)


def waits_for(phone: Phone) -> str:
    """What would make the call go on."""
    if phone.session.ended:
        return "nothing: the call has ended"
    if phone.playing:
        return "the end of a prompt"
    if phone.pending:
        return f"a {ENDED_BY[type(phone.pending)]} to end"
    return "the caller" if phone.asking else "time to pass"
