"""How often the store is looked into: every second, unless there is so much to see that calls would suffer."""

import asyncio
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest

from tests.support.live_call_row import live_call_row
from tests.support.virtual_time import in_virtual_time
from vocelio.gateway.errors import DatabaseUnavailable
from vocelio.gateway.events import EventBus
from vocelio.gateway.monitors.reconciler import (
    FULL_REFRESH_INTERVAL_SECONDS,
    MAX_PAUSE_SECONDS,
    PAUSE_SECONDS_PER_CALL,
    POLL_INTERVAL_SECONDS,
    QUERY_TIMEOUT_SECONDS,
    RECENTLY_ENDED_SECONDS,
    StoreReconciler,
)
from vocelio.gateway.monitors.tenant_feed import TenantFeed

CALLS = [live_call_row(call=f"CA{place:032x}") for place in range(6_000)]


class FakeDatabase:
    """A database that answers after so many seconds, with so many calls, or fails then.

    ``asked``: from when to when, each time.
    """

    def __init__(self, seconds=0.01, calls=0, error=None):
        self.seconds, self.calls, self.error, self.asked = seconds, CALLS[:calls], error, []

    async def with_timeout(self, coroutine, seconds):
        """See Database."""
        coroutine.close()
        began = asyncio.get_running_loop().time()
        await asyncio.sleep(self.seconds)
        self.asked.append((began, asyncio.get_running_loop().time()))
        if self.error:
            raise self.error
        return [] if coroutine.__name__ == "list_recently_ended" else self.calls

    @property
    def queries(self):
        """The same, where one question follows upon the other as one."""
        made = []
        for began, ended in self.asked:
            if made and began - made[-1][1] < 0.01:
                made[-1] = (made[-1][0], ended)
            else:
                made.append((began, ended))
        return made

    @property
    def query_intervals(self):
        """After each look but the last: how long the next was waited for."""
        return [after - ended for (_, ended), (after, _) in pairwise(self.queries)]


@asynccontextmanager
async def make_reconciler(store):
    """A look for one hub, which nobody has begun."""
    hubs = {}
    look = StoreReconciler(hubs, store, lambda: 0)
    hubs["harbour"] = TenantFeed("harbour", EventBus(), lambda: 0, look.request_refresh)
    await look.start()
    yield look, hubs["harbour"]
    await look.aclose()


def request_refresh(look, hub):
    """The hub misses something."""
    hub.refresh_requested = True
    look.request_refresh(immediately=False)


@pytest.mark.parametrize("calls", [0, 2_000])
@in_virtual_time
async def test_a_look_is_taken_every_second(calls):
    store = FakeDatabase(calls=calls)
    async with make_reconciler(store):
        await asyncio.sleep(60 if not calls else 10)
    assert store.query_intervals == pytest.approx([POLL_INTERVAL_SECONDS] * (len(store.queries) - 1))


@pytest.mark.parametrize("seconds", [0.01, 2.0])
@in_virtual_time
async def test_the_pause_after_many_calls_is_longer_however_long_the_store_took(seconds):
    store = FakeDatabase(seconds, calls=6_000)
    async with make_reconciler(store):
        await asyncio.sleep(20)
    assert store.query_intervals == pytest.approx([6_000 * PAUSE_SECONDS_PER_CALL] * (len(store.queries) - 1))
    assert len(store.queries) > 2


@pytest.mark.parametrize("calls", [0, 3_000])
@in_virtual_time
async def test_holes_hurry_no_look_before_its_pause_is_over(calls):
    store = FakeDatabase(calls=calls)
    async with make_reconciler(store) as (look, hub):
        for _ in range(1_000):
            request_refresh(look, hub)
            await asyncio.sleep(0.05)
    assert min(store.query_intervals) >= calls * PAUSE_SECONDS_PER_CALL - 0.001
    looks = len(store.queries)
    assert looks > 90 if not calls else 30 < looks < 35, "each has its pause, and not more"


@in_virtual_time
async def test_a_hole_is_looked_after_soon_also_when_it_came_during_a_look():
    store = FakeDatabase(0.04)
    async with make_reconciler(store) as (look, hub):
        await asyncio.sleep(1.1)  # the first took two questions, 0.08 s; amid the second
        request_refresh(look, hub)
        await asyncio.sleep(0.4)
        assert len(store.queries) == 2
        await asyncio.sleep(0.2)
        assert len(store.queries) == 3


@in_virtual_time
async def test_a_hub_that_begins_waits_for_no_pause_and_keeps_no_other_waiting_for_ever():
    store = FakeDatabase(0.5, calls=2_500)
    async with make_reconciler(store) as (look, hub):
        for turn in range(20):
            await asyncio.sleep(2)
            asked = len(store.asked)
            hub.refresh_requested = True
            look.request_refresh(immediately=True)
            await asyncio.sleep(0.51)
            assert len(store.asked) > asked, turn
    recents = [ended for (_, ended), (after, _) in pairwise(store.asked) if after == ended]
    assert max(after - before for before, after in pairwise(recents)) < RECENTLY_ENDED_SECONDS


@in_virtual_time
async def test_a_store_that_fails_late_is_asked_again_as_soon_as_ever():
    store = FakeDatabase(5.0, error=DatabaseUnavailable())
    async with make_reconciler(store):
        await asyncio.sleep(60)
    assert store.query_intervals == pytest.approx([POLL_INTERVAL_SECONDS] * (len(store.queries) - 1))


def test_no_call_that_ends_between_two_looks_is_missed():
    assert MAX_PAUSE_SECONDS + FULL_REFRESH_INTERVAL_SECONDS + 2 * QUERY_TIMEOUT_SECONDS < RECENTLY_ENDED_SECONDS
