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
from vocelio.engine.prompts.static_prompts import sounds
from vocelio.engine.scenario import call_script
from vocelio.engine.scenario.assertions import plain
from vocelio.engine.scenario.runner import as_given, facts
from vocelio.engine.scenario.steps import Expect, Hears, Scenario, Transfer
from vocelio.gateway.calls.interfaces import Services
from vocelio.gateway.cli.call import CALLERS_VOICE
from vocelio.gateway.cli.embedded_gateway import stage
from vocelio.gateway.clock import wall_clock
from vocelio.gateway.events import Event, EventBus
from vocelio.gateway.http_client.client import Fetcher
from vocelio.gateway.model.directory import Assignment
from vocelio.gateway.model.tenant import Department, Tenant
from vocelio.gateway.simulator.caller import script as steps
from vocelio.gateway.simulator.report.report import Outcome
from vocelio.gateway.simulator.verbs.dial import Callee, Dials
from vocelio.gateway.speech.local.recognizer import LocalRecognizer
from vocelio.gateway.speech.local.synthesizer import LocalSynthesizer
from vocelio.gateway.speech.services import only
from vocelio.gateway.store.in_memory import MemoryJournal, MemorySite

AT_ONCE = 4  # calls; each has a recogniser process of its own
OUTCOMES: dict[str, Outcome] = {"answered": "answered", "busy": "busy", "no_answer": "no-answer", "failed": "failed"}


@dataclass(frozen=True, slots=True)
class Spoken:
    """What became of one scenario: what was wrong, or why it was left out."""

    name: str
    wrong: tuple[str, ...] = ()
    left_out: str = ""


class KeepingBus(EventBus):
    """Keeps every event."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[Event] = []

    def publish(self, event: Event) -> None:
        """See EventBus."""
        self.events.append(event)


async def speak_all(
    version: FlowVersion, scenarios: Sequence[Scenario], done: Callable[[], None] = lambda: None
) -> list[Spoken]:
    """Every scenario, some side by side; ``done`` is called after each."""
    places = asyncio.Semaphore(AT_ONCE)

    async def one(scenario: Scenario) -> Spoken:
        async with places:
            result = await speak(version, scenario)
        done()
        return result

    return list(await asyncio.gather(*map(one, scenarios)))


async def speak(version: FlowVersion, scenario: Scenario) -> Spoken:
    """Place the scenario's call. Raises SpeechError when speech cannot be had."""
    play = call_script.script(version, scenario)
    if reason := _unplayable(play):
        return Spoken(scenario.name, left_out=reason)
    assignment, bus = _assignment(version, scenario), KeepingBus()
    started, now = facts(scenario.given).started, wall_clock()
    services = Services(
        MemorySite([assignment]),
        only(LocalRecognizer(workers=1), LocalSynthesizer()),
        bus,
        Fetcher(),
        MemoryJournal(),
        lambda: started + wall_clock() - now,
    )
    async with aclosing(LocalSynthesizer()) as voice, stage(services) as carrier:
        caller = steps.Caller(tuple(_steps(play)), voice, CALLERS_VOICE)
        dials = _dials(play, assignment)
        report = await carrier.call(scenario.given.number, scenario.given.caller or "anonymous", caller, dials=dials)
    wrong = (*(f"the carrier noted {fault}" for fault in report.errors), *_unmet(play, bus.events))
    return Spoken(scenario.name, wrong)


def _reach(version: FlowVersion) -> dict[str, Any]:
    """Whom the flow's transfers name may be rung here: a scenario is about the flow, not about a tenant's rules."""
    transfers = [node for node in version.flow.nodes.values() if isinstance(node, TransferNode)]
    hosts = {re.split("[:;?]", node.sip.partition("@")[2].lower())[0] for node in transfers if node.sip}
    named = {node.number for node in transfers if node.number}
    return {"sip_hosts": tuple(hosts), "destinations": ("+13105550", *named)}


def _assignment(version: FlowVersion, scenario: Scenario) -> Assignment:
    """The scenario's number, flow and departments; every department has one telephone, every sound is silence."""
    given, version = scenario.given, as_given(version, scenario.given)
    named = {getattr(node, "department", "") for node in version.flow.nodes.values()} - {""}
    departments = {
        name: Department((f"+131055502{index:02}",), hours=given.hours.get(name))
        for index, name in enumerate(sorted(named | given.departments.keys()))
    }
    tenant = given.tenant
    return Assignment(
        number=given.number,
        tenant=Tenant(
            id=tenant.id, name=tenant.name, time_zone=tenant.time_zone, variables=tenant.variables, **_reach(version)
        ),
        flow="flow",
        version=version,
        departments=departments,
        sounds={name: bytes([mulaw.SILENCE]) * 4_000 for name in sounds(version)},
    )


def _unplayable(play: call_script.Script) -> str:
    for step in (*(s.step for s in play.steps if isinstance(s, call_script.Elsewhere)), *play.outside.values()):
        if not isinstance(step, Transfer):
            return f"{type(step).__name__.lower()} is not the caller's to do"
    return ""


def _steps(play: call_script.Script) -> Iterator[steps.Step]:
    for step in play.steps:
        match step:
            case call_script.Say():
                yield steps.Speak(step.text, interrupt=step.interrupt)
            case call_script.Press():
                yield steps.Press(step.keys, interrupt=step.interrupt)
            case call_script.Mumble():
                yield steps.MakeNoise(step.seconds, interrupt=step.interrupt)
            case call_script.StaySilent():
                yield steps.StaySilent(step.seconds)
            case call_script.PutDown():
                yield steps.HangUp()
            case _:
                pass


def _dials(play: call_script.Script, assignment: Assignment) -> Dials:
    """Who answers: in the order of the steps, or by node."""
    in_order = [s.step for s in play.steps if isinstance(s, call_script.Elsewhere) and isinstance(s.step, Transfer)]
    if in_order:
        return [Callee(OUTCOMES[step.transfer]) for step in in_order]
    by_address: dict[str, Outcome | Callee] = {}
    for name, step in play.outside.items():
        node = assignment.version.flow.nodes.get(name)
        if isinstance(step, Transfer) and node is not None:
            department = assignment.departments.get(getattr(node, "department", ""))
            address = department.numbers[0] if department else getattr(node, "number", "") or getattr(node, "sip", "")
            by_address[address] = Callee(OUTCOMES[step.transfer])
    return by_address


def _unmet(play: call_script.Script, events: list[Event]) -> Iterator[str]:
    said = [plain(str(event.data["text"])) for event in events if event.type == "prompt.started"]
    entered = {event.data["node"] for event in events if event.type == "node.entered"}
    ended = next((event.data for event in events if event.type == "call.ended"), {})
    at = 0
    for check in play.steps:
        match check:
            case call_script.Check(line, Hears(hears=text)):
                found = next(
                    (index for index in range(at, len(said)) if plain(text) in " ".join(said[at : index + 1])), -1
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
