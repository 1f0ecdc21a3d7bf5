"""A client that follows docs/monitoring.md ends up with the feed's view, whatever is queued behind a snapshot."""

import asyncio
import json
import random
from contextlib import asynccontextmanager

import msgspec
import pytest

from tests.support.live_call_row import live_call_row
from tests.support.monitor_client import MonitorClient
from tests.support.virtual_time import in_virtual_time
from vocelio.gateway.clock import wall_clock
from vocelio.gateway.events import Event, EventBus
from vocelio.gateway.monitors.call_view import MAX_STORE_LAG_SECONDS, EventFilter, build_message
from vocelio.gateway.monitors.send_queue import MAX_PART_CALLS
from vocelio.gateway.monitors.tenant_feed import TenantFeed

CALLS = [
    live_call_row(call=f"CA{number:03}", sequence=5, node="greet") for number in range(MAX_PART_CALLS + 1)
]  # the last is in part two
LAST_CALL = CALLS[-1]
ENDED_DATA = {"outcome": "completed", "department": "", "disposition": "", "billed_seconds": 1.0, "cost_micro_usd": 300}


class WatchedFeed:
    """A hub, and a screen that is sent what the hub's monitors are."""

    def __init__(self, types=()):
        self.bus = EventBus()
        self.hub = TenantFeed("harbour", self.bus, wall_clock, lambda at_once: None)
        self.outbox = self.hub.add_queue(EventFilter(types=frozenset(types)))
        self.screen = MonitorClient(None)

    async def publish(self, kind, call=LAST_CALL.call, generation=1, sequence=6, **data):
        """An event."""
        about = {
            "tenant": "harbour",
            "call": call,
            "generation": generation,
            "sequence": sequence,
            "occurred_at": wall_clock(),
        }
        self.bus.publish(Event(type=kind, data=data, **about))
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    async def refresh(self, *rows):
        """The store is read."""
        await self.hub.apply_snapshot(rows, 0)

    async def deliver(self):
        """The screen takes one message; False when there is none."""
        try:
            async with asyncio.timeout(0):
                message = await self.outbox.get()
        except TimeoutError:
            return False
        self.screen.apply_message(json.loads(message))
        return True

    async def assert_agrees(self, but=()):
        """What both show of the last call, once the screen has taken all."""
        while await self.deliver():
            pass
        pictures = {picture.call: build_message(picture) for picture in self.hub.call_views()}
        assert self.screen.call_views.keys() == pictures.keys()
        for call, picture in pictures.items():
            shown = self.screen.call_views[call]
            assert {name: shown[name] for name in picture} == picture | {name: shown[name] for name in but}
        return pictures[LAST_CALL.call]


@asynccontextmanager
async def watched_feed(**options):
    """A hub that knows of so many calls that a snapshot has two parts, of which the screen has taken one."""
    made = WatchedFeed(**options)
    made.hub.start()
    await asyncio.sleep(0)
    try:
        await made.refresh(*CALLS)
        made.hub.queues.add(made.outbox)
        made.outbox.reset_with_gap()
        await made.deliver()
        await made.deliver()
        yield made
    finally:
        await made.hub.aclose()


async def test_a_cost_that_waits_behind_the_end_of_its_call_does_not_outlive_it():
    async with watched_feed() as seen:
        await seen.refresh(msgspec.structs.replace(LAST_CALL, cost_micro_usd=200))
        await seen.publish("call.ended", **ENDED_DATA)
        picture = await seen.assert_agrees()
        assert (picture["status"], picture["cost_micro_usd"]) == ("ended", 300)


async def test_silence_that_was_told_in_a_snapshot_is_not_counted_twice():
    async with watched_feed() as seen:
        await seen.refresh(msgspec.structs.replace(LAST_CALL, cost_micro_usd=200))
        await seen.publish("prompt.finished", prompt="1", playout_gap_ms=40)
        assert (await seen.assert_agrees())["playout_gap_ms"] == 40


async def test_what_a_call_did_before_its_end_does_not_outlive_it():
    async with watched_feed() as seen:
        await seen.publish("caller.speaking", sequence=5, speaking=True)
        await seen.publish("call.ended", **ENDED_DATA)
        assert (await seen.assert_agrees())["speaking"] == ""


TRANSIENT_FIELDS = {"speaking", "transcript", "partial_transcript", "prompt", "latency_ms", "playout_gap_ms"}


@pytest.mark.parametrize("seed", range(100))
@pytest.mark.parametrize(("types", "but"), [((), set()), (("call.ended",), TRANSIENT_FIELDS | {"sequence"})])
@in_virtual_time
async def test_whatever_is_told_and_whatever_is_lost(seed, types, but):
    rng = random.Random(seed)  # noqa: S311 (nothing is guarded)
    async with watched_feed(types=types) as seen:
        rows = [LAST_CALL]  # as the store has the call, one after the other
        for _ in range(rng.randrange(1, 40)):
            row = rows[-1]
            match rng.choice(
                ("node", "spoken", "silence", "speaking", "cost", "look", "look", "take", "take", "gap", "wait")
            ):
                case "node":
                    rows.append(msgspec.structs.replace(row, sequence=row.sequence + 1, node=rng.choice("abc")))
                    if rng.random() < 0.7:
                        await seen.publish("node.entered", sequence=row.sequence + 1, node=rows[-1].node)
                case "spoken":
                    rows.append(msgspec.structs.replace(row, sequence=row.sequence + 1))
                    await seen.publish("prompt.started", sequence=row.sequence + 1, text=rng.choice("abc"))
                case "silence":
                    rows.append(msgspec.structs.replace(row, sequence=row.sequence + 1))
                    await seen.publish("prompt.finished", sequence=row.sequence + 1, playout_gap_ms=rng.randrange(50))
                case "speaking":
                    await seen.publish("caller.speaking", sequence=row.sequence, speaking=rng.random() < 0.5)
                case "cost":
                    rows.append(msgspec.structs.replace(row, cost_micro_usd=row.cost_micro_usd + 1))
                case "look":
                    await seen.refresh(*CALLS[:-1], rng.choice(rows[-3:]))
                case "take":
                    await seen.deliver()
                case "wait":
                    await asyncio.sleep(MAX_STORE_LAG_SECONDS)
                case "gap":
                    seen.outbox.reset_with_gap()
                    await seen.deliver()
        if rng.random() < 0.5:
            await seen.publish("call.ended", sequence=rows[-1].sequence + 1, **ENDED_DATA)
        else:
            await seen.refresh(*CALLS[:-1], rows[-1])
        await seen.assert_agrees(but)
