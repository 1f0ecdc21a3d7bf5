"""Spoken scenarios: runs the scenarios of a flow as real calls with synthesized and recognized speech.

Checks what the caller perceives and what the call's events contain: texts in order, nodes entered, transfers, outcome.
Scenarios that script other systems (HTTP replies, queues, recordings, operators) have no audio form and are skipped.
"""

import asyncio
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from vocelio.codecs import mulaw
from vocelio.engine.flow import FlowVersion
from vocelio.engine.nodes.transfer import Transfer as TransferNode
from vocelio.engine.prompts.static_prompts import referenced_sounds
from vocelio.engine.scenario import call_script
from vocelio.engine.scenario.assertions import normalize
from vocelio.engine.scenario.runner import build_call_info, with_variables
from vocelio.engine.scenario.steps import Expect, Hears, Scenario, TransferStep
from vocelio.gateway.cli.call import CALLER_VOICE
from vocelio.gateway.cli.embedded_gateway import embedded_gateway, offline_services
from vocelio.gateway.clock import wall_clock
from vocelio.gateway.events import Event, EventBus
from vocelio.gateway.model.directory import CallConfig
from vocelio.gateway.model.tenant import Department, Tenant
from vocelio.gateway.simulator.caller import script as steps
from vocelio.gateway.simulator.report import DialOutcome
from vocelio.gateway.simulator.verbs.dial import Callee, Callees
from vocelio.gateway.speech.local.recognizer import LocalRecognizer
from vocelio.gateway.speech.local.synthesizer import LocalSynthesizer
from vocelio.gateway.store.in_memory import InMemoryCallStore, InMemoryDirectory

MAX_CONCURRENT_CALLS = 4  # each has a recognizer process of its own
DIAL_OUTCOMES: dict[str, DialOutcome] = {
    "answered": "answered",
    "busy": "busy",
    "no_answer": "no-answer",
    "failed": "failed",
}


@dataclass(frozen=True, slots=True)
class SpokenResult:
    """Result of one scenario: failed checks, or why it was skipped."""

    name: str
    failures: tuple[str, ...] = ()
    skip_reason: str = ""


class RecordingBus(EventBus):
    """Records every event."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[Event] = []

    def publish(self, event: Event) -> None:
        self.events.append(event)


async def run_all_spoken(
    version: FlowVersion, scenarios: Sequence[Scenario], on_done: Callable[[], None] = lambda: None
) -> list[SpokenResult]:
    """Run the scenarios, several at a time. ``on_done`` is called after each."""
    slots = asyncio.Semaphore(MAX_CONCURRENT_CALLS)

    async def run_one(scenario: Scenario) -> SpokenResult:
        async with slots:
            result = await run_spoken(version, scenario)
        on_done()
        return result

    return list(await asyncio.gather(*map(run_one, scenarios)))


async def run_spoken(version: FlowVersion, scenario: Scenario) -> SpokenResult:
    """Place the call of one scenario. Raises SpeechError if offline speech is not available."""
    script = call_script.build_call_script(version, scenario)
    if reason := _skip_reason(script):
        return SpokenResult(scenario.name, skip_reason=reason)
    call_config, bus = _call_config(version, scenario), RecordingBus()
    call_started, now = build_call_info(scenario.setup).started_at, wall_clock()
    services = offline_services(
        InMemoryDirectory([call_config]),
        InMemoryCallStore(),
        bus,
        LocalRecognizer(workers=1),
        lambda: call_started + wall_clock() - now,
    )
    async with aclosing(LocalSynthesizer()) as voice, embedded_gateway(services) as simulator:
        caller = steps.SimulatedCaller(tuple(_caller_steps(script)), voice, CALLER_VOICE)
        caller_number = scenario.setup.caller or "anonymous"
        callees = _dial_outcomes(script, call_config)
        report = await simulator.call(scenario.setup.number, caller_number, caller, callees=callees)
    failures = (*(f"Twilio debugger: {error}" for error in report.errors), *_failed_checks(script, bus.events))
    return SpokenResult(scenario.name, failures)


def _dial_rules(version: FlowVersion) -> dict[str, Any]:
    """Allow every target of the flow's transfers: a scenario tests the flow, not the tenant's dial rules."""
    transfers = [node for node in version.flow.nodes.values() if isinstance(node, TransferNode)]
    hosts = {re.split("[:;?]", node.sip.partition("@")[2].lower())[0] for node in transfers if node.sip}
    numbers = {node.number for node in transfers if node.number}
    return {"allowed_sip_hosts": tuple(hosts), "allowed_prefixes": ("+13105550", *numbers)}


def _call_config(version: FlowVersion, scenario: Scenario) -> CallConfig:
    """Build the call's configuration. Every department has one number, every stored sound is silence."""
    setup, version = scenario.setup, with_variables(version, scenario.setup)
    department_names = {getattr(node, "department", "") for node in version.flow.nodes.values()} - {""}
    departments = {
        name: Department((f"+131055502{index:02}",), hours=setup.hours.get(name))
        for index, name in enumerate(sorted(department_names | setup.departments.keys()))
    }
    tenant = setup.tenant
    return CallConfig(
        number=setup.number,
        tenant=Tenant(
            id=tenant.id,
            name=tenant.name,
            time_zone=tenant.time_zone,
            variables=tenant.variables,
            **_dial_rules(version),
        ),
        flow="flow",
        version=version,
        departments=departments,
        sounds={name: bytes([mulaw.SILENCE_BYTE]) * 4_000 for name in referenced_sounds(version)},
    )


def _skip_reason(script: call_script.CallScript) -> str:
    for step in (
        *(s.step for s in script.steps if isinstance(s, call_script.ExternalEvent)),
        *script.external_steps.values(),
    ):
        if not isinstance(step, TransferStep):
            return f"{type(step).__name__.lower()} has no audio form"
    return ""


def _caller_steps(script: call_script.CallScript) -> Iterator[steps.Step]:
    for step in script.steps:
        match step:
            case call_script.Say():
                yield steps.Speak(step.text, interrupt_after_seconds=step.interrupt_after_seconds)
            case call_script.Press():
                yield steps.PressKeys(step.keys, interrupt_after_seconds=step.interrupt_after_seconds)
            case call_script.Noise():
                yield steps.MakeNoise(step.seconds, interrupt_after_seconds=step.interrupt_after_seconds)
            case call_script.StaySilent():
                yield steps.StaySilent(step.seconds)
            case call_script.HangUp():
                yield steps.HangUp()
            case _:
                pass


def _dial_outcomes(script: call_script.CallScript, call_config: CallConfig) -> Callees:
    """Outcomes of the dials: in the order of the steps, or else by the address of the node."""
    transfer_steps = [
        s.step for s in script.steps if isinstance(s, call_script.ExternalEvent) and isinstance(s.step, TransferStep)
    ]
    if transfer_steps:
        return [Callee(DIAL_OUTCOMES[step.transfer]) for step in transfer_steps]
    by_address: dict[str, DialOutcome | Callee] = {}
    for name, step in script.external_steps.items():
        node = call_config.version.flow.nodes.get(name)
        if isinstance(step, TransferStep) and node is not None:
            department = call_config.departments.get(getattr(node, "department", ""))
            address = department.numbers[0] if department else getattr(node, "number", "") or getattr(node, "sip", "")
            by_address[address] = Callee(DIAL_OUTCOMES[step.transfer])
    return by_address


def _failed_checks(script: call_script.CallScript, events: list[Event]) -> Iterator[str]:
    prompts = [normalize(str(event.data["text"])) for event in events if event.type == "prompt.started"]
    entered_nodes = {event.data["node"] for event in events if event.type == "node.entered"}
    ended = next((event.data for event in events if event.type == "call.ended"), {})
    position = 0
    for check in script.steps:
        match check:
            case call_script.Check(line, Hears(hears=text)):
                match_position = next(
                    (
                        index
                        for index in range(position, len(prompts))
                        if normalize(text) in " ".join(prompts[position : index + 1])
                    ),
                    -1,
                )
                if match_position < 0:
                    heard = " / ".join(prompts[position:]) or "nothing"
                    yield f"line {line}: expected to hear {text!r}, actual: {heard}"
                position = max(position, match_position)
            case call_script.Check(line, Expect(expect=expectation)):
                if expectation.node is not None and expectation.node not in entered_nodes:
                    yield f"line {line}: the call was never at {expectation.node}"
                for name in ("outcome", "disposition", "department"):
                    expected = getattr(expectation, name)
                    if expected is not None and ended.get(name) != expected:
                        yield f"line {line}: {name}: expected {expected}, actual {ended.get(name)}"
            case _:
                pass
