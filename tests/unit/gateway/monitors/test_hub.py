"""Whatever waits behind a snapshot, a client that keeps its picture as docs/monitors.md says ends up with the hub's."""

import asyncio
import json
import random
from contextlib import asynccontextmanager

import msgspec
import pytest

from tests.screen import Screen
from tests.unit.gateway.monitors.kept import kept
from tests.virtual_time import in_virtual_time
from vocelio.gateway.clock import wall_clock
from vocelio.gateway.events import Event, EventBus
from vocelio.gateway.monitors.call_view import DOUBT_SECONDS
from vocelio.gateway.monitors.event_filter import Wanted
from vocelio.gateway.monitors.send_queue import PART
from vocelio.gateway.monitors.tenant_feed import Hub

CALLS = [kept(call=f"CA{number:03}", seq=5, node="greet") for number in range(PART + 1)]  # the last is in part two
LAST = CALLS[-1]
OVER = {"outcome": "completed", "department": "", "disposition": "", "seconds": 1.0, "micro_usd": 300}


class Watched:
    """A hub, and a screen that is sent what the hub's monitors are."""

    def __init__(self, types=()):
        self.bus = EventBus()
        self.hub = Hub("harbour", self.bus, wall_clock, lambda at_once: None)
        self.outbox = self.hub.outbox(Wanted(types=frozenset(types)))
        self.screen = Screen(None)

    async def happen(self, kind, call=LAST.call, generation=1, seq=6, **data):
        """An event."""
        about = {"tenant": "harbour", "call": call, "generation": generation, "seq": seq, "at": wall_clock()}
        self.bus.publish(Event(type=kind, data=data, **about))
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    async def look(self, *rows):
        """The store is read."""
        await self.hub.looked(rows, 0)

    async def take(self):
        """The screen takes one message; False when there is none."""
        try:
            async with asyncio.timeout(0):
                message = await self.outbox.take()
        except TimeoutError:
            return False
        self.screen.take(json.loads(message))
        return True

    async def agreed(self, but=()):
        """What both show of the last call, once the screen has taken all."""
        while await self.take():
            pass
        pictures = {picture.call: msgspec.structs.asdict(picture) for picture in self.hub.pictures()}
        assert self.screen.picture.keys() == pictures.keys()
        for call, picture in pictures.items():
            shown = self.screen.picture[call]
            assert {name: shown[name] for name in picture} == picture | {name: shown[name] for name in but}
        return pictures[LAST.call]


@asynccontextmanager
async def watched(**options):
    """A hub that knows of so many calls that a snapshot has two parts, of which the screen has taken one."""
    made = Watched(**options)
    made.hub.start()
    await asyncio.sleep(0)
    try:
        await made.look(*CALLS)
        made.hub.audience.add(made.outbox)
        made.outbox.lose()
        await made.take()
        await made.take()
        yield made
    finally:
        await made.hub.aclose()


async def test_a_cost_that_waits_behind_the_end_of_its_call_does_not_outlive_it():
    async with watched() as seen:
        await seen.look(msgspec.structs.replace(LAST, micro_usd=200))
        await seen.happen("call.ended", **OVER)
        picture = await seen.agreed()
        assert (picture["status"], picture["micro_usd"]) == ("ended", 300)


async def test_silence_that_was_told_in_a_snapshot_is_not_counted_twice():
    async with watched() as seen:
        await seen.look(msgspec.structs.replace(LAST, micro_usd=200))
        await seen.happen("prompt.finished", prompt="1", late_ms=40)
        assert (await seen.agreed())["late_ms"] == 40


async def test_what_a_call_did_before_its_end_does_not_outlive_it():
    async with watched() as seen:
        await seen.happen("caller.speaking", seq=5, on=True)
        await seen.happen("call.ended", **OVER)
        assert (await seen.agreed())["speaking"] == ""


BY_EVENTS = {"speaking", "heard", "partial", "said", "latency_ms", "late_ms"}


@pytest.mark.parametrize("seed", range(100))
@pytest.mark.parametrize(("types", "but"), [((), set()), (("call.ended",), BY_EVENTS | {"seq"})])
@in_virtual_time
async def test_whatever_is_told_and_whatever_is_lost(seed, types, but):
    rng = random.Random(seed)  # noqa: S311 (nothing is guarded)
    async with watched(types=types) as seen:
        rows = [LAST]  # as the store has the call, one after the other
        for _ in range(rng.randrange(1, 40)):
            row = rows[-1]
            match rng.choice(
                ("node", "spoken", "silence", "speaking", "cost", "look", "look", "take", "take", "gap", "wait")
            ):
                case "node":
                    rows.append(msgspec.structs.replace(row, seq=row.seq + 1, node=rng.choice("abc")))
                    if rng.random() < 0.7:
                        await seen.happen("node.entered", seq=row.seq + 1, node=rows[-1].node)
                case "spoken":
                    rows.append(msgspec.structs.replace(row, seq=row.seq + 1))
                    await seen.happen("prompt.started", seq=row.seq + 1, text=rng.choice("abc"))
                case "silence":
                    rows.append(msgspec.structs.replace(row, seq=row.seq + 1))
                    await seen.happen("prompt.finished", seq=row.seq + 1, late_ms=rng.randrange(50))
                case "speaking":
                    await seen.happen("caller.speaking", seq=row.seq, on=rng.random() < 0.5)
                case "cost":
                    rows.append(msgspec.structs.replace(row, micro_usd=row.micro_usd + 1))
                case "look":
                    await seen.look(*CALLS[:-1], rng.choice(rows[-3:]))
                case "take":
                    await seen.take()
                case "wait":
                    await asyncio.sleep(DOUBT_SECONDS)
                case "gap":
                    seen.outbox.lose()
                    await seen.take()
        if rng.random() < 0.5:
            await seen.happen("call.ended", seq=rows[-1].seq + 1, **OVER)
        else:
            await seen.look(*CALLS[:-1], rows[-1])
        await seen.agreed(but)
