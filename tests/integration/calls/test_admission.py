"""A process that has as many calls as it can carry: what a new caller gets, and that the others notice nothing."""

import asyncio
from dataclasses import dataclass

import aiohttp
import msgspec
import pytest

from tests.support.running_gateway import CALLER, NUMBER, TENANT, make_call_config, running_gateway
from vocelio.gateway.model.tenant import Overflow
from vocelio.gateway.simulator.caller.script import HangUp
from vocelio.gateway.simulator.events import StreamConnected
from vocelio.gateway.simulator.verbs.enqueue import QueueScript
from vocelio.gateway.speech.fakes import ScriptedRecognizer, ToneSynthesizer
from vocelio.gateway.store.in_memory import InMemoryCallStore, InMemoryDirectory

WAITS = {"name": "Waits", "start": "wait", "nodes": {"wait": {"type": "wait", "seconds": 600, "exits": {}}}}
BYE = {"name": "Bye", "start": "bye", "nodes": {"bye": {"type": "hangup", "text": "Goodbye."}}}


def full_gateway(flow=WAITS, *, capacity=1, limits=None, **overflow):
    tenant = msgspec.structs.replace(
        TENANT, overflow=Overflow(**overflow), unavailable_message="We are busy.", **limits or {}
    )
    journal = InMemoryCallStore()
    site = InMemoryDirectory([make_call_config(flow, tenant=tenant)], call_store=journal)
    return running_gateway(
        flow, ScriptedRecognizer(), ToneSynthesizer(), directory=site, call_store=journal, max_calls=capacity
    )


@dataclass
class CallInProgress:
    """A call that is in progress."""

    task: asyncio.Task

    async def hang_up(self):
        """Its end."""
        self.task.cancel()
        await asyncio.wait({self.task})


async def running_call(running):
    """The one call that there is room for."""
    task = asyncio.create_task(running.simulator.call(NUMBER, CALLER))
    async with asyncio.timeout(10):
        while not running.calls.registry.live_calls:  # noqa: ASYNC110 (a socket opens)
            await asyncio.sleep(0.02)
    return CallInProgress(task)


async def readiness(running):
    async with aiohttp.ClientSession() as session, session.get(f"{running.origin}/readyz") as answer:
        return answer.status, (await answer.json())["status"]


async def test_full_process_plays_the_overflow_message():
    async with full_gateway(text="Everybody is talking.") as running:
        assert await readiness(running) == (200, "ok")
        first = await running_call(running)
        assert await readiness(running) == (503, "at_capacity")
        report = await running.call()
        assert (report.say_texts, report.ending, report.errors) == (("Everybody is talking.",), "hangup", ())
        assert report.streams == ()
        (refused,) = running.bus.data_of("call.rejected")
        assert refused == {"caller": CALLER, "number": NUMBER, "flow": "flow", "outcome": "capacity"}
        assert running.call_store.calls[report.call_sid].outcome == "capacity"
        text = running.calls.services.metrics.render("a1", 1, (), {}).decode()
        assert 'vocelio_calls_rejected_total{outcome="capacity",process="a1"} 1.0' in text
        assert 'vocelio_calls_started_total{process="a1"} 1.0' in text
        assert len(running.calls.registry.live_calls) == 1
        await first.hang_up()


async def test_overflow_message_defaults_to_the_unavailable_message():
    async with full_gateway() as running:
        first = await running_call(running)
        assert (await running.call()).say_texts == ("We are busy.",)
        await first.hang_up()


async def test_overflow_forwards_to_an_allowed_number():
    async with full_gateway(action="forward", number="+13105550199") as running:
        first = await running_call(running)
        report = await running.call()
        assert [dialed.target for dialed in report.dial_results] == ["+13105550199"]
        assert running.bus.data_of("call.rejected")[0]["outcome"] == "capacity"
        assert running.bus.data_of("transfer.started") == [{"department": "", "number": "+13105550199"}]
        await first.hang_up()


async def test_overflow_forward_counts_against_the_transfer_limit():
    limits = {"max_transfers_per_hour": 2}
    async with full_gateway(action="forward", number="+13105550199", limits=limits) as running:
        first = await running_call(running)
        reports = [await running.call() for _ in range(3)]
        assert [len(report.dial_results) for report in reports] == [1, 1, 0]
        assert reports[2].say_texts == ("We are busy.",)
        await first.hang_up()


@pytest.mark.parametrize("number", ["+19005550123", "+442079460123"])
async def test_overflow_does_not_forward_to_a_disallowed_number(number):
    async with full_gateway(action="forward", number=number, limits={"allowed_countries": ("US",)}) as running:
        first = await running_call(running)
        report = await running.call()
        assert (report.dial_results, report.say_texts) == ((), ("We are busy.",))
        await first.hang_up()


async def test_queued_caller_is_answered_when_there_is_room():
    async with full_gateway(BYE, capacity=0, action="queue") as running:
        call = asyncio.create_task(running.call())
        await asyncio.sleep(1.0)
        assert not call.done()
        running.calls.admission.max_calls = 1
        report = await asyncio.wait_for(call, 30)
        assert report.errors == ()
        assert [(queued.queue_name, queued.result) for queued in report.queue_stays] == [("vocelio-harbour", "leave")]
        assert report.say_texts == (TENANT.hold_message,)
        assert running.bus.data_of("call.rejected") == []
        assert running.bus.data_of("call.ended")[0]["outcome"] == "completed"


async def test_hangup_in_the_queue_is_saved_as_rejected():
    async with full_gateway(action="queue", capacity=0) as running:
        report = await running.simulator.call(NUMBER, CALLER, [HangUp(max_wait_seconds=0.5)])
        assert [queued.result for queued in report.queue_stays] == ["hangup"]
        async with asyncio.timeout(5):
            while not running.bus.data_of("call.rejected"):  # noqa: ASYNC110 (the notice comes after the call)
                await asyncio.sleep(0.02)
        assert running.call_store.calls[report.call_sid].outcome == "capacity"


@pytest.mark.parametrize("stay", [QueueScript("queue-full"), QueueScript("error", wait_seconds=0.1)])
async def test_failed_queue_plays_the_overflow_message(stay):
    async with full_gateway(action="queue", capacity=0) as running:
        report = await running.call(queue_scripts=[stay])
        assert (len(report.queue_stays), report.say_texts[-1], report.errors) == (1, "We are busy.", ())


async def test_queue_wait_is_limited():
    async with full_gateway(action="queue", capacity=0, max_wait_seconds=10) as running:
        report = await running.call()
        assert [queued.result for queued in report.queue_stays] == ["leave"]
        assert report.say_texts == (TENANT.hold_message, "We are busy.")
        assert 10 <= report.queue_stays[0].wait_seconds < 14


async def test_full_process_accepts_streams_of_calls_in_progress():
    flow = {
        "name": "Ring",
        "start": "ring",
        "nodes": {
            "ring": {"type": "transfer", "department": "sales", "exits": {"busy": "bye"}},
            "bye": {"type": "hangup", "text": "Goodbye."},
        },
    }
    async with full_gateway(flow) as running:

        def fill(event):
            if isinstance(event, StreamConnected):
                running.calls.admission.max_calls = 0

        report = await running.call(callees={"+13105550111": "busy"}, on_event=fill)
        assert running.calls.registry.is_full
        assert (len(report.streams), report.errors) == (2, ())
        assert running.bus.data_of("call.ended")[0]["outcome"] == "completed"
