"""How often the store is looked into: every second, unless there is so much to see that calls would suffer."""

import asyncio
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest

from tests.unit.gateway.monitors.kept import kept
from tests.virtual_time import in_virtual_time
from vocelio.gateway.errors import StoreUnavailable
from vocelio.gateway.events import EventBus
from vocelio.gateway.monitors.reconciler import (
    ALL_SECONDS,
    CALL_SECONDS,
    LONGEST_SECONDS,
    LOOK_SECONDS,
    RECENT_SECONDS,
    STORE_SECONDS,
    Look,
)
from vocelio.gateway.monitors.tenant_feed import Hub

CALLS = [kept(call=f"CA{place:032x}") for place in range(6_000)]


class Store:
    """A database that answers after so many seconds, with so many calls, or fails then.

    ``asked``: from when to when, each time.
    """

    def __init__(self, seconds=0.01, calls=0, error=None):
        self.seconds, self.calls, self.error, self.asked = seconds, CALLS[:calls], error, []

    async def in_time(self, work, seconds):
        """See Database."""
        work.close()
        began = asyncio.get_running_loop().time()
        await asyncio.sleep(self.seconds)
        self.asked.append((began, asyncio.get_running_loop().time()))
        if self.error:
            raise self.error
        return [] if work.__name__ == "recent" else self.calls

    @property
    def looks(self):
        """The same, where one question follows upon the other as one."""
        made = []
        for began, ended in self.asked:
            if made and began - made[-1][1] < 0.01:
                made[-1] = (made[-1][0], ended)
            else:
                made.append((began, ended))
        return made

    @property
    def pauses(self):
        """After each look but the last: how long the next was waited for."""
        return [after - ended for (_, ended), (after, _) in pairwise(self.looks)]


@asynccontextmanager
async def looking(store):
    """A look for one hub, which nobody has begun."""
    hubs = {}
    look = Look(hubs, store, lambda: 0)
    hubs["harbour"] = Hub("harbour", EventBus(), lambda: 0, look.soon)
    await look.start()
    yield look, hubs["harbour"]
    await look.aclose()


def hurry(look, hub):
    """The hub misses something."""
    hub.hurried = True
    look.soon(at_once=False)


@pytest.mark.parametrize("calls", [0, 2_000])
@in_virtual_time
async def test_a_look_is_taken_every_second(calls):
    store = Store(calls=calls)
    async with looking(store):
        await asyncio.sleep(60 if not calls else 10)
    assert store.pauses == pytest.approx([LOOK_SECONDS] * (len(store.looks) - 1))


@pytest.mark.parametrize("seconds", [0.01, 2.0])
@in_virtual_time
async def test_the_pause_after_many_calls_is_longer_however_long_the_store_took(seconds):
    store = Store(seconds, calls=6_000)
    async with looking(store):
        await asyncio.sleep(20)
    assert store.pauses == pytest.approx([6_000 * CALL_SECONDS] * (len(store.looks) - 1))
    assert len(store.looks) > 2


@pytest.mark.parametrize("calls", [0, 3_000])
@in_virtual_time
async def test_holes_hurry_no_look_before_its_pause_is_over(calls):
    store = Store(calls=calls)
    async with looking(store) as (look, hub):
        for _ in range(1_000):
            hurry(look, hub)
            await asyncio.sleep(0.05)
    assert min(store.pauses) >= calls * CALL_SECONDS - 0.001
    looks = len(store.looks)
    assert looks > 90 if not calls else 30 < looks < 35, "each has its pause, and not more"


@in_virtual_time
async def test_a_hole_is_looked_after_soon_also_when_it_came_during_a_look():
    store = Store(0.04)
    async with looking(store) as (look, hub):
        await asyncio.sleep(1.1)  # the first took two questions, 0.08 s; amid the second
        hurry(look, hub)
        await asyncio.sleep(0.4)
        assert len(store.looks) == 2
        await asyncio.sleep(0.2)
        assert len(store.looks) == 3


@in_virtual_time
async def test_a_hub_that_begins_waits_for_no_pause_and_keeps_no_other_waiting_for_ever():
    store = Store(0.5, calls=2_500)
    async with looking(store) as (look, hub):
        for turn in range(20):
            await asyncio.sleep(2)
            asked = len(store.asked)
            hub.hurried = True
            look.soon(at_once=True)
            await asyncio.sleep(0.51)
            assert len(store.asked) > asked, turn
    recents = [ended for (_, ended), (after, _) in pairwise(store.asked) if after == ended]
    assert max(after - before for before, after in pairwise(recents)) < RECENT_SECONDS


@in_virtual_time
async def test_a_store_that_fails_late_is_asked_again_as_soon_as_ever():
    store = Store(5.0, error=StoreUnavailable())
    async with looking(store):
        await asyncio.sleep(60)
    assert store.pauses == pytest.approx([LOOK_SECONDS] * (len(store.looks) - 1))


def test_no_call_that_ends_between_two_looks_is_missed():
    assert LONGEST_SECONDS + ALL_SECONDS + 2 * STORE_SECONDS < RECENT_SECONDS
