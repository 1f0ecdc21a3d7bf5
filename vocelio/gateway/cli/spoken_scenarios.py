"""A flow's scenarios as real calls: the caller really speaks, the recogniser really hears it.

Checked is what a caller can notice and what the call's record says: the texts, in order, the nodes that were
entered, whom the caller was connected to, how the call ended. A scenario that scripts other systems (replies,
queues, recordings, operators) has no audio form and is left out by name.
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
from vocelio.gateway.calls.interfaces import CallServices
from vocelio.gateway.cli.call import CALLER_VOICE
from vocelio.gateway.cli.embedded_gateway import embedded_gateway
from vocelio.gateway.clock import wall_clock
from vocelio.gateway.events import Event, EventBus
from vocelio.gateway.http_client.client import HttpClient
from vocelio.gateway.model.directory import CallConfig
from vocelio.gateway.model.tenant import Department, Tenant
from vocelio.gateway.simulator.caller import script as steps
from vocelio.gateway.simulator.report.report import DialOutcome
from vocelio.gateway.simulator.verbs.dial import Callee, Callees
from vocelio.gateway.speech.local.recognizer import LocalRecognizer
from vocelio.gateway.speech.local.synthesizer import LocalSynthesizer
from vocelio.gateway.speech.providers import single_provider
from vocelio.gateway.store.in_memory import InMemoryCallStore, InMemoryDirectory

MAX_CONCURRENT_CALLS = 4  # calls; each has a recogniser process of its own
DIAL_OUTCOMES: dict[str, DialOutcome] = {
    "answered": "answered",
    "busy": "busy",
    "no_answer": "no-answer",
    "failed": "failed",
}


@dataclass(frozen=True, slots=True)
class SpokenResult:
    """What became of one scenario: what was wrong, or why it was left out."""

    name: str
    failures: tuple[str, ...] = ()
    skip_reason: str = ""


class RecordingBus(EventBus):
    """Keeps every event."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[Event] = []

    def publish(self, event: Event) -> None:
        """See EventBus."""
        self.events.append(event)


async def run_all_spoken(
    version: FlowVersion, scenarios: Sequence[Scenario], on_done: Callable[[], None] = lambda: None
) -> list[SpokenResult]:
    """Every scenario, some side by side; ``done`` is called after each."""
    places = asyncio.Semaphore(MAX_CONCURRENT_CALLS)

    async def one(scenario: Scenario) -> SpokenResult:
        async with places:
            result = await run_spoken(version, scenario)
        on_done()
        return result

    return list(await asyncio.gather(*map(one, scenarios)))


async def run_spoken(version: FlowVersion, scenario: Scenario) -> SpokenResult:
    """Place the scenario's call. Raises SpeechError when speech cannot be had."""
    play = call_script.build_call_script(version, scenario)
    if reason := _skip_reason(play):
        return SpokenResult(scenario.name, skip_reason=reason)
    assignment, bus = _call_config(version, scenario), RecordingBus()
    started, now = build_call_info(scenario.setup).started_at, wall_clock()
    services = CallServices(
        InMemoryDirectory([assignment]),
        single_provider(LocalRecognizer(workers=1), LocalSynthesizer()),
        bus,
        HttpClient(),
        InMemoryCallStore(),
        lambda: started + wall_clock() - now,
    )
    async with aclosing(LocalSynthesizer()) as voice, embedded_gateway(services) as carrier:
        caller = steps.SimulatedCaller(tuple(_caller_steps(play)), voice, CALLER_VOICE)
        dials = _dial_outcomes(play, assignment)
        report = await carrier.call(scenario.setup.number, scenario.setup.caller or "anonymous", caller, callees=dials)
    wrong = (*(f"the carrier noted {fault}" for fault in report.errors), *_failed_checks(play, bus.events))
    return SpokenResult(scenario.name, wrong)


def _dial_rules(version: FlowVersion) -> dict[str, Any]:
    """Whom the flow's transfers name may be rung here: a scenario is about the flow, not about a tenant's rules."""
    transfers = [node for node in version.flow.nodes.values() if isinstance(node, TransferNode)]
    hosts = {re.split("[:;?]", node.sip.partition("@")[2].lower())[0] for node in transfers if node.sip}
    named = {node.number for node in transfers if node.number}
    return {"sip_hosts": tuple(hosts), "destinations": ("+13105550", *named)}


def _call_config(version: FlowVersion, scenario: Scenario) -> CallConfig:
    """The scenario's number, flow and departments; every department has one telephone, every sound is silence."""
    given, version = scenario.setup, with_variables(version, scenario.setup)
    named = {getattr(node, "department", "") for node in version.flow.nodes.values()} - {""}
    departments = {
        name: Department((f"+131055502{index:02}",), hours=given.hours.get(name))
        for index, name in enumerate(sorted(named | given.departments.keys()))
    }
    tenant = given.tenant
    return CallConfig(
        number=given.number,
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


def _skip_reason(plan: call_script.CallScript) -> str:
    for step in (
        *(s.step for s in plan.steps if isinstance(s, call_script.ExternalEvent)),
        *plan.external_steps.values(),
    ):
        if not isinstance(step, TransferStep):
            return f"{type(step).__name__.lower()} is not the caller's to do"
    return ""


def _caller_steps(plan: call_script.CallScript) -> Iterator[steps.Step]:
    for step in plan.steps:
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


def _dial_outcomes(plan: call_script.CallScript, call_config: CallConfig) -> Callees:
    """Who answers: in the order of the steps, or by node."""
    in_order = [
        s.step for s in plan.steps if isinstance(s, call_script.ExternalEvent) and isinstance(s.step, TransferStep)
    ]
    if in_order:
        return [Callee(DIAL_OUTCOMES[step.transfer]) for step in in_order]
    by_address: dict[str, DialOutcome | Callee] = {}
    for name, step in plan.external_steps.items():
        node = call_config.version.flow.nodes.get(name)
        if isinstance(step, TransferStep) and node is not None:
            department = call_config.departments.get(getattr(node, "department", ""))
            address = department.numbers[0] if department else getattr(node, "number", "") or getattr(node, "sip", "")
            by_address[address] = Callee(DIAL_OUTCOMES[step.transfer])
    return by_address


def _failed_checks(plan: call_script.CallScript, events: list[Event]) -> Iterator[str]:
    said = [normalize(str(event.data["text"])) for event in events if event.type == "prompt.started"]
    entered = {event.data["node"] for event in events if event.type == "node.entered"}
    ended = next((event.data for event in events if event.type == "call.ended"), {})
    at = 0
    for check in plan.steps:
        match check:
            case call_script.Check(line, Hears(hears=text)):
                found = next(
                    (index for index in range(at, len(said)) if normalize(text) in " ".join(said[at : index + 1])), -1
                )
                if found < 0:
                    yield f"line {line}: never heard {text!r}; what was said: {' / '.join(said[at:]) or 'nothing'}"
                at = max(at, found)
            case call_script.Check(line, Expect(expect=wanted)):
                if wanted.node is not None and wanted.node not in entered:
                    yield f"line {line}: the call was never at {wanted.node}"
                for name in ("outcome", "disposition", "department"):
                    expected = getattr(wanted, name)
                    if expected is not None and ended.get(name) != expected:
                        yield f"line {line}: {name}: expected {expected}, found {ended.get(name)}"
            case _:
                pass
