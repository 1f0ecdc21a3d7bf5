"""Scenario runner: performs the steps on a virtual phone until one of them fails.

A caller acts only when the flow waits for it, unless the step has ``interrupts``. An expectation may become true at any
time before the flow waits again, so scenarios do not depend on the number of prompts in between.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta

import msgspec

from vocelio.engine import actions, events
from vocelio.engine.call_info import CallInfo, TenantInfo
from vocelio.engine.call_log import Exchange
from vocelio.engine.flow import FlowVersion
from vocelio.engine.replay.transcript import describe_action
from vocelio.engine.scenario import steps
from vocelio.engine.scenario.assertions import Mismatch, failed_expectations, normalize
from vocelio.engine.scenario.steps import Scenario, Setup
from vocelio.engine.scenario.virtual_phone import STEP_KEY_BY_ACTION, RunawayFlow, VirtualPhone, can_end

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Failure(msgspec.Struct, frozen=True):
    """A failed step. ``node`` and ``waiting_for`` describe the state of the call at that moment."""

    line: int
    step: str
    mismatches: tuple[Mismatch, ...]
    node: str
    waiting_for: str


class ScenarioResult(msgspec.Struct, frozen=True):
    """Result of a scenario.

    ``step_spans``: start and end of each step, in seconds of the call. ``problems`` are those the flow reported itself.
    """

    scenario: Scenario
    failure: Failure | None
    exchanges: tuple[Exchange, ...]
    step_spans: tuple[tuple[float, float], ...]
    call_seconds: float
    problems: tuple[str, ...]

    @property
    def passed(self) -> bool:
        return self.failure is None


class _StepFailed(Exception):
    """The step failed."""

    def __init__(self, *mismatches: Mismatch) -> None:
        super().__init__()
        self.mismatches = mismatches


def run_scenario(version: FlowVersion, scenario: Scenario) -> ScenarioResult:
    """Run one scenario."""
    phone = VirtualPhone(with_variables(version, scenario.setup), build_call_info(scenario.setup), scenario.setup.nodes)
    spans = list[tuple[float, float]]()
    failure = None
    for located in scenario.steps:
        failure = _run_step(phone, located, is_last=len(spans) == len(scenario.steps) - 1)
        if failure:
            break
        spans.append((phone.turn_started, phone.now))
    problems = tuple(dict.fromkeys(_flow_problems(phone.exchanges)))
    return ScenarioResult(scenario, failure, tuple(phone.exchanges), tuple(spans), phone.now, problems)


def _run_step(phone: VirtualPhone, located: steps.LocatedStep, is_last: bool) -> Failure | None:
    """Perform a step. After the last one the call continues until it is idle."""
    try:
        _perform_step(phone, located.step)
        if is_last:
            _advance_until_idle(phone)
    except _StepFailed as error:
        return _build_failure(phone, located, error.mismatches)
    except RunawayFlow as error:
        return _build_failure(phone, located, (Mismatch("the flow", "becomes idle", str(error)),))
    return None


def build_call_info(setup: Setup) -> CallInfo:
    """Build the call's facts from the setup."""
    tenant = setup.tenant
    return CallInfo(
        call_id="scenario",
        caller=setup.caller,
        number=setup.number,
        tenant=TenantInfo(tenant.id, tenant.name, tenant.variables, tenant.time_zone),
        started_at=(setup.at - EPOCH) // timedelta(microseconds=1),
        seed=setup.seed,
        departments=setup.departments,
        hours=setup.hours,
    )


def with_variables(version: FlowVersion, setup: Setup) -> FlowVersion:
    """Return the version with the setup's initial values of variables."""
    if not setup.variables:
        return version
    flow = msgspec.structs.replace(version.flow, variables=version.flow.variables | setup.variables)
    return msgspec.structs.replace(version, flow=flow)


def _build_failure(phone: VirtualPhone, located: steps.LocatedStep, mismatches: Sequence[Mismatch]) -> Failure:
    return Failure(located.line, steps.format_step(located.step), tuple(mismatches), phone.node, describe_wait(phone))


def _flow_problems(exchanges: Iterable[Exchange]) -> Iterable[str]:
    for exchange in exchanges:
        for action in exchange.actions:
            if isinstance(action, actions.EmitEvent) and action.type == "flow.problem":
                yield f"{action.data.get('node', '')}: {action.data.get('error', '')}"


# One step


def _perform_step(phone: VirtualPhone, step: steps.AnyStep) -> None:
    match step:
        case steps.Hears(hears=text):
            _check_hears(phone, text)
        case steps.Expect(expect=expectation):
            if not _advance_until(phone, lambda: not failed_expectations(phone, expectation)):
                raise _StepFailed(*failed_expectations(phone, expectation))
        case steps.Says(says=text, partial=partial):
            _wait_for_turn(phone, step.interrupts)
            phone.say(text, (partial,) if isinstance(partial, str) else partial, step.confidence)
        case steps.Mumbles():
            _wait_for_turn(phone, step.interrupts)
            phone.say("")
        case steps.Presses(presses=keys):
            _wait_for_turn(phone, step.interrupts)
            phone.press(keys)
        case steps.Silent(silent=duration):
            _stay_silent(phone, duration)
        case steps.HangsUp():
            _require_live_call(phone)
            phone.feed(events.CallEnded(phone.now))
        case steps.Reconnects():
            _require_live_call(phone)
            phone.reconnect()
        case steps.OperatorCommand(operator=command, value=value):
            _require_live_call(phone)
            phone.spoken_texts.clear()
            phone.feed(events.OperatorCommand(phone.now, command, value))
        case steps.TransferStep() | steps.QueueStep() | steps.ReplyStep() | steps.RecordingStep():
            _apply_external_step(phone, step)


def _advance_until(phone: VirtualPhone, condition: Callable[[], bool]) -> bool:
    """Advance the call until the condition holds. False if it waits or ends before."""
    while not condition():
        if not phone.advance():
            return False
    return True


def _advance_until_idle(phone: VirtualPhone) -> None:
    """Advance the call until it waits for the caller or an external result, or has ended."""
    _advance_until(phone, lambda: False)


def _check_hears(phone: VirtualPhone, text: str) -> None:
    expected = normalize(text)
    if not _advance_until(phone, lambda: expected in normalize(" ".join(phone.spoken_texts))):
        raise _StepFailed(Mismatch("the caller hears", text, " ".join(phone.spoken_texts) or "nothing"))


def _require_live_call(phone: VirtualPhone) -> None:
    if phone.session.ended:
        raise _StepFailed(Mismatch("the call", "is in progress", f"has ended: {phone.session.outcome}"))


def _wait_for_turn(phone: VirtualPhone, interrupts: bool | float) -> None:
    """Wait until the flow waits for the caller, or until that many seconds into a prompt."""
    if interrupts is False:
        _advance_until_idle(phone)
        if phone.pending_action:
            raise _StepFailed(Mismatch("the flow", "waits for the caller", f"waits for {describe_wait(phone)}"))
    elif phone.is_playing:
        interrupt_after = steps.DEFAULT_INTERRUPT_SECONDS if interrupts is True else interrupts
        phone.sleep(max(0.0, interrupt_after - phone.playing_seconds))
    _require_live_call(phone)
    phone.turn_started = phone.now


def _stay_silent(phone: VirtualPhone, duration: bool | float) -> None:
    _advance_until_idle(phone)
    _require_live_call(phone)
    phone.turn_started = phone.now
    phone.spoken_texts.clear()
    if duration is not True:
        phone.sleep(duration)
        return
    exchange_count = len(phone.exchanges)
    while not _is_noticeable(phone.exchanges[exchange_count:]):
        if not phone.fire_next():
            raise _StepFailed(Mismatch("the flow", "reacts to silence", f"waits for {describe_wait(phone)}"))


def _is_noticeable(exchanges: Iterable[Exchange]) -> bool:
    return any(
        describe_action(action) or _is_node_entered(action) for exchange in exchanges for action in exchange.actions
    )


def _is_node_entered(action: actions.AnyAction) -> bool:
    return isinstance(action, actions.EmitEvent) and action.type == "node.entered"


def _apply_external_step(phone: VirtualPhone, step: steps.ExternalStep) -> None:
    """End the pending operation. The step takes precedence over the node's result in the setup."""
    if not _advance_until(
        phone, lambda: not phone.is_playing and phone.pending_action is not None and can_end(step, phone.pending_action)
    ):
        kind = step.__struct_fields__[0]
        raise _StepFailed(Mismatch("the flow", f"waits for a {kind}", f"waits for {describe_wait(phone)}"))
    phone.spoken_texts.clear()
    phone.end_pending_action(step)


def describe_wait(phone: VirtualPhone) -> str:
    """Describe what the call waits for."""
    if phone.session.ended:
        return "nothing (the call has ended)"
    if phone.is_playing:
        return "the end of a prompt"
    if phone.pending_action:
        return f"a {STEP_KEY_BY_ACTION[type(phone.pending_action)]} to end"
    return "the caller" if phone.is_asking else "time to pass"
