"""A process that has as many calls as it can carry: what a new caller gets, and that the others notice nothing."""

import asyncio
from dataclasses import dataclass

import aiohttp
import msgspec
import pytest

from tests.gateway import CALLER, NUMBER, TENANT, assignment, gateway
from vocelio.gateway.model.tenant import Overflow
from vocelio.gateway.simulator.caller.script import HangUp
from vocelio.gateway.simulator.report.events import Connected
from vocelio.gateway.simulator.verbs.enqueue import Waiting
from vocelio.gateway.speech.fakes import ScriptedRecognizer, ToneSynthesizer
from vocelio.gateway.store.in_memory import MemoryJournal, MemorySite

WAITS = {"name": "Waits", "start": "wait", "nodes": {"wait": {"type": "wait", "seconds": 600, "exits": {}}}}
BYE = {"name": "Bye", "start": "bye", "nodes": {"bye": {"type": "hangup", "text": "Goodbye."}}}


def served(flow=WAITS, *, capacity=1, limits=None, **overflow):
    tenant = msgspec.structs.replace(TENANT, overflow=Overflow(**overflow), pause="We are busy.", **limits or {})
    journal = MemoryJournal()
    site = MemorySite([assignment(flow, tenant=tenant)], journal=journal)
    return gateway(flow, ScriptedRecognizer(), ToneSynthesizer(), site=site, journal=journal, capacity=capacity)


@dataclass
class Talk:
    """A call that is in progress."""

    task: asyncio.Task

    async def hang_up(self):
        """Its end."""
        self.task.cancel()
        await asyncio.wait({self.task})


async def talk(running):
    """The one call that there is room for."""
    task = asyncio.create_task(running.carrier.call(NUMBER, CALLER))
    async with asyncio.timeout(10):
        while not running.calls.live:  # noqa: ASYNC110 (a socket opens)
            await asyncio.sleep(0.02)
    return Talk(task)


async def ready(running):
    async with aiohttp.ClientSession() as session, session.get(f"{running.origin}/readyz") as answer:
        return answer.status, (await answer.json())["status"]


async def test_one_call_too_many_hears_a_message_and_is_kept():
    async with served(text="Everybody is talking.") as running:
        assert await ready(running) == (200, "ok")
        first = await talk(running)
        assert await ready(running) == (503, "full")
        report = await running.call()
        assert (report.spoken, report.ended, report.errors) == (("Everybody is talking.",), "hangup", ())
        assert report.streams == ()
        (refused,) = running.bus.of("call.refused")
        assert refused == {"caller": CALLER, "number": NUMBER, "flow": "flow", "outcome": "full"}
        assert running.journal.calls[report.call_sid].outcome == "full"
        text = running.calls.services.metrics.text("a1", 1, (), {}).decode()
        assert 'vocelio_calls_refused_total{outcome="full",process="a1"} 1.0' in text
        assert 'vocelio_calls_begun_total{process="a1"} 1.0' in text
        assert len(running.calls.live) == 1
        await first.hang_up()


async def test_without_a_message_of_its_own_a_tenant_says_its_pause():
    async with served() as running:
        first = await talk(running)
        assert (await running.call()).spoken == ("We are busy.",)
        await first.hang_up()


async def test_calls_are_forwarded_where_a_transfer_would_be():
    async with served(do="forward", number="+13105550199") as running:
        first = await talk(running)
        report = await running.call()
        assert [dialed.target for dialed in report.dialed] == ["+13105550199"]
        assert running.bus.of("call.refused")[0]["outcome"] == "full"
        assert running.bus.of("transfer.started") == [{"department": "", "number": "+13105550199"}]
        await first.hang_up()


async def test_as_often_as_a_tenant_may_transfer():
    limits = {"max_transfers_per_hour": 2}
    async with served(do="forward", number="+13105550199", limits=limits) as running:
        first = await talk(running)
        reports = [await running.call() for _ in range(3)]
        assert [len(report.dialed) for report in reports] == [1, 1, 0]
        assert reports[2].spoken == ("We are busy.",)
        await first.hang_up()


@pytest.mark.parametrize("number", ["+19005550123", "+442079460123"])
async def test_and_nowhere_else(number):
    async with served(do="forward", number=number, limits={"countries": ("US",)}) as running:
        first = await talk(running)
        report = await running.call()
        assert (report.dialed, report.spoken) == ((), ("We are busy.",))
        await first.hang_up()


async def test_a_caller_waits_in_the_queue_until_there_is_room():
    async with served(BYE, capacity=0, do="queue") as running:
        call = asyncio.create_task(running.call())
        await asyncio.sleep(1.0)
        assert not call.done()
        running.calls.load.capacity = 1
        report = await asyncio.wait_for(call, 30)
        assert report.errors == ()
        assert [(queued.name, queued.result) for queued in report.queued] == [("vocelio-harbour", "leave")]
        assert report.spoken == (TENANT.hold,)
        assert running.bus.of("call.refused") == []
        assert running.bus.of("call.ended")[0]["outcome"] == "completed"


async def test_who_hangs_up_in_the_queue_was_refused():
    async with served(do="queue", capacity=0) as running:
        report = await running.carrier.call(NUMBER, CALLER, [HangUp(longest_wait=0.5)])
        assert [queued.result for queued in report.queued] == ["hangup"]
        async with asyncio.timeout(5):
            while not running.bus.of("call.refused"):  # noqa: ASYNC110 (the notice comes after the call)
                await asyncio.sleep(0.02)
        assert running.journal.calls[report.call_sid].outcome == "full"


@pytest.mark.parametrize("stay", [Waiting("queue-full"), Waiting("error", wait=0.1)])
async def test_where_the_queue_takes_nobody_the_message_is_said(stay):
    async with served(do="queue", capacity=0) as running:
        report = await running.call(queues=[stay])
        assert (len(report.queued), report.spoken[-1], report.errors) == (1, "We are busy.", ())


async def test_nobody_waits_for_longer_than_the_tenant_wants():
    async with served(do="queue", capacity=0, seconds=10) as running:
        report = await running.call()
        assert [queued.result for queued in report.queued] == ["leave"]
        assert report.spoken == (TENANT.hold, "We are busy.")
        assert 10 <= report.queued[0].seconds < 14


async def test_a_call_in_progress_goes_on_however_full_it_is():
    flow = {
        "name": "Ring",
        "start": "ring",
        "nodes": {
            "ring": {"type": "transfer", "department": "sales", "exits": {"busy": "bye"}},
            "bye": {"type": "hangup", "text": "Goodbye."},
        },
    }
    async with served(flow) as running:

        def fill(event):
            if isinstance(event, Connected):
                running.calls.load.capacity = 0

        report = await running.call(dials={"+13105550111": "busy"}, on_event=fill)
        assert running.calls.full_up
        assert (len(report.streams), report.errors) == (2, ())
        assert running.bus.of("call.ended")[0]["outcome"] == "completed"
