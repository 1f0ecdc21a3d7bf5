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
    """A feed with one client that receives its messages."""

    def __init__(self, types=()):
        self.bus = EventBus()
        self.feed = TenantFeed("harbour", self.bus, wall_clock, lambda at_once: None)
        self.queue = self.feed.add_queue(EventFilter(types=frozenset(types)))
        self.client = MonitorClient(None)

    async def publish(self, kind, call=LAST_CALL.call, generation=1, sequence=6, **data):
        """Publish an event."""
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
        """Apply rows as the reconciler does."""
        await self.feed.apply_snapshot(rows, 0)

    async def deliver(self):
        """Deliver one message to the client; return False if there is none."""
        try:
            async with asyncio.timeout(0):
                message = await self.queue.get()
        except TimeoutError:
            return False
        self.client.apply_message(json.loads(message))
        return True

    async def assert_agrees(self, but=()):
        """Deliver all messages and check that client and feed agree; return the view of the last call."""
        while await self.deliver():
            pass
        views = {view.call: build_message(view) for view in self.feed.call_views()}
        assert self.client.call_views.keys() == views.keys()
        for call, view in views.items():
            body = self.client.call_views[call]
            assert {name: body[name] for name in view} == view | {name: body[name] for name in but}
        return views[LAST_CALL.call]


@asynccontextmanager
async def watched_feed(**options):
    """Run a feed with a snapshot of two parts, of which the client has received one."""
    made = WatchedFeed(**options)
    made.feed.start()
    await asyncio.sleep(0)
    try:
        await made.refresh(*CALLS)
        made.feed.queues.add(made.queue)
        made.queue.reset_with_gap()
        await made.deliver()
        await made.deliver()
        yield made
    finally:
        await made.feed.aclose()


async def test_queued_cost_does_not_override_the_end_of_the_call():
    async with watched_feed() as watched:
        await watched.refresh(msgspec.structs.replace(LAST_CALL, cost_micro_usd=200))
        await watched.publish("call.ended", **ENDED_DATA)
        view = await watched.assert_agrees()
        assert (view["status"], view["cost_micro_usd"]) == ("ended", 300)


async def test_playout_gap_in_a_snapshot_is_not_counted_twice():
    async with watched_feed() as watched:
        await watched.refresh(msgspec.structs.replace(LAST_CALL, cost_micro_usd=200))
        await watched.publish("prompt.finished", prompt="1", playout_gap_ms=40)
        assert (await watched.assert_agrees())["playout_gap_ms"] == 40


async def test_transient_state_ends_with_the_call():
    async with watched_feed() as watched:
        await watched.publish("caller.speaking", sequence=5, speaking=True)
        await watched.publish("call.ended", **ENDED_DATA)
        assert (await watched.assert_agrees())["speaking"] == ""


TRANSIENT_FIELDS = {"speaking", "transcript", "partial_transcript", "prompt", "latency_ms", "playout_gap_ms"}


@pytest.mark.parametrize("seed", range(100))
@pytest.mark.parametrize(("types", "but"), [((), set()), (("call.ended",), TRANSIENT_FIELDS | {"sequence"})])
@in_virtual_time
async def test_client_agrees_with_the_feed_for_any_sequence_of_events_and_losses(seed, types, but):
    rng = random.Random(seed)  # noqa: S311 (nothing is guarded)
    async with watched_feed(types=types) as watched:
        rows = [LAST_CALL]  # as the store has the call, one after the other
        for _ in range(rng.randrange(1, 40)):
            row = rows[-1]
            match rng.choice(
                ("node", "spoken", "silence", "speaking", "cost", "look", "look", "take", "take", "gap", "wait")
            ):
                case "node":
                    rows.append(msgspec.structs.replace(row, sequence=row.sequence + 1, node=rng.choice("abc")))
                    if rng.random() < 0.7:
                        await watched.publish("node.entered", sequence=row.sequence + 1, node=rows[-1].node)
                case "spoken":
                    rows.append(msgspec.structs.replace(row, sequence=row.sequence + 1))
                    await watched.publish("prompt.started", sequence=row.sequence + 1, text=rng.choice("abc"))
                case "silence":
                    rows.append(msgspec.structs.replace(row, sequence=row.sequence + 1))
                    await watched.publish(
                        "prompt.finished", sequence=row.sequence + 1, playout_gap_ms=rng.randrange(50)
                    )
                case "speaking":
                    await watched.publish("caller.speaking", sequence=row.sequence, speaking=rng.random() < 0.5)
                case "cost":
                    rows.append(msgspec.structs.replace(row, cost_micro_usd=row.cost_micro_usd + 1))
                case "look":
                    await watched.refresh(*CALLS[:-1], rng.choice(rows[-3:]))
                case "take":
                    await watched.deliver()
                case "wait":
                    await asyncio.sleep(MAX_STORE_LAG_SECONDS)
                case "gap":
                    watched.queue.reset_with_gap()
                    await watched.deliver()
        if rng.random() < 0.5:
            await watched.publish("call.ended", sequence=rows[-1].sequence + 1, **ENDED_DATA)
        else:
            await watched.refresh(*CALLS[:-1], rows[-1])
        await watched.assert_agrees(but)
