"""How often the store is looked into: every second, unless that would be most of what a process does."""

import asyncio
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest

from tests.virtual_time import in_virtual_time
from vocelio.gateway.errors import StoreUnavailable
from vocelio.gateway.events import EventBus
from vocelio.gateway.monitors.hub import Hub
from vocelio.gateway.monitors.look import LONGEST_SECONDS, LOOK_SECONDS, RECENT_SECONDS, Look


class SlowStore:
    """A database that answers after so many seconds, or fails then. ``asked``: from when to when, each time."""

    def __init__(self, seconds, error=None):
        self.seconds, self.error, self.asked = seconds, error, []

    async def in_time(self, work, seconds):
        """See Database."""
        work.close()
        began = asyncio.get_running_loop().time()
        await asyncio.sleep(self.seconds)
        self.asked.append((began, asyncio.get_running_loop().time()))
        if self.error:
            raise self.error
        return []

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
        """After each look but the last: how long it took, and how long the next was waited for."""
        return [(ended - began, after - ended) for (began, ended), (after, _) in pairwise(self.looks)]


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


@in_virtual_time
async def test_a_quick_look_is_taken_every_second():
    store = SlowStore(0.01)
    async with looking(store):
        await asyncio.sleep(60)
    assert [pause for _, pause in store.pauses] == pytest.approx([LOOK_SECONDS] * (len(store.looks) - 1))


@pytest.mark.parametrize("seconds", [0.06, 0.11, 0.5])
@in_virtual_time
async def test_the_pause_is_ten_times_what_the_look_before_it_took(seconds):
    store = SlowStore(seconds)
    async with looking(store):
        await asyncio.sleep(100)
    assert store.pauses
    for took, pause in store.pauses:
        assert pause == pytest.approx(max(LOOK_SECONDS, 10 * took))


@pytest.mark.parametrize("seconds", [0.01, 0.06, 0.5])
@in_virtual_time
async def test_holes_hurry_no_look_before_its_pause_is_over(seconds):
    store = SlowStore(seconds)
    async with looking(store) as (look, hub):
        for _ in range(1_000):
            hurry(look, hub)
            await asyncio.sleep(0.05)
    for took, pause in store.pauses:
        assert pause >= 10 * took - 0.001
    looks = len(store.looks)
    assert looks > 90 if seconds == 0.01 else looks < 50 / (seconds * 10), "each has its pause, and not more"


@in_virtual_time
async def test_a_hole_is_looked_after_soon_also_when_it_came_during_a_look():
    store = SlowStore(0.04)
    async with looking(store) as (look, hub):
        await asyncio.sleep(1.1)  # the first took two questions, 0.08 s; amid the second
        hurry(look, hub)
        await asyncio.sleep(0.4)
        assert len(store.looks) == 2
        await asyncio.sleep(0.2)
        assert len(store.looks) == 3


@in_virtual_time
async def test_a_hub_that_begins_waits_for_no_pause_and_keeps_no_other_waiting_for_ever():
    store = SlowStore(0.5)
    async with looking(store) as (look, hub):
        for turn in range(100):
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
    store = SlowStore(5.0, StoreUnavailable())
    async with looking(store):
        await asyncio.sleep(60)
    assert [pause for _, pause in store.pauses] == pytest.approx([LOOK_SECONDS] * (len(store.looks) - 1))


@in_virtual_time
async def test_no_call_that_ends_between_two_looks_is_missed():
    store = SlowStore(4.9)
    async with looking(store):
        await asyncio.sleep(300)
    assert [pause for _, pause in store.pauses] == pytest.approx([LONGEST_SECONDS] * (len(store.looks) - 1))
    assert max(took + pause for took, pause in store.pauses) < RECENT_SECONDS
