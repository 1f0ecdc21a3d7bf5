"""How often the database is read: every second, less often when there are many calls."""

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
    """A database that answers after some seconds with some calls, or fails then.

    ``query_times`` has the start and the end of each query.
    """

    def __init__(self, seconds=0.01, calls=0, error=None):
        self.seconds, self.calls, self.error, self.query_times = seconds, CALLS[:calls], error, []

    async def with_timeout(self, coroutine, seconds):
        coroutine.close()
        began = asyncio.get_running_loop().time()
        await asyncio.sleep(self.seconds)
        self.query_times.append((began, asyncio.get_running_loop().time()))
        if self.error:
            raise self.error
        return [] if coroutine.__name__ == "list_recently_ended" else self.calls

    @property
    def queries(self):
        """Return the queries, with consecutive ones of a refresh merged."""
        merged = []
        for began, ended in self.query_times:
            if merged and began - merged[-1][1] < 0.01:
                merged[-1] = (merged[-1][0], ended)
            else:
                merged.append((began, ended))
        return merged

    @property
    def query_intervals(self):
        """Return the pauses between refreshes."""
        return [after - ended for (_, ended), (after, _) in pairwise(self.queries)]


@asynccontextmanager
async def make_reconciler(database):
    """Run a reconciler with one feed."""
    feeds = {}
    reconciler = StoreReconciler(feeds, database, lambda: 0)
    feeds["harbour"] = TenantFeed("harbour", EventBus(), lambda: 0, reconciler.request_refresh)
    await reconciler.start()
    yield reconciler, feeds["harbour"]
    await reconciler.aclose()


def request_refresh(reconciler, feed):
    """Request a refresh as a feed that misses an event."""
    feed.refresh_requested = True
    reconciler.request_refresh(immediately=False)


@pytest.mark.parametrize("calls", [0, 2_000])
@in_virtual_time
async def test_database_is_read_every_second(calls):
    database = FakeDatabase(calls=calls)
    async with make_reconciler(database):
        await asyncio.sleep(60 if not calls else 10)
    assert database.query_intervals == pytest.approx([POLL_INTERVAL_SECONDS] * (len(database.queries) - 1))


@pytest.mark.parametrize("seconds", [0.01, 2.0])
@in_virtual_time
async def test_pause_grows_with_the_number_of_rows(seconds):
    database = FakeDatabase(seconds, calls=6_000)
    async with make_reconciler(database):
        await asyncio.sleep(20)
    assert database.query_intervals == pytest.approx([6_000 * PAUSE_SECONDS_PER_CALL] * (len(database.queries) - 1))
    assert len(database.queries) > 2


@pytest.mark.parametrize("calls", [0, 3_000])
@in_virtual_time
async def test_missing_events_do_not_shorten_the_pause(calls):
    database = FakeDatabase(calls=calls)
    async with make_reconciler(database) as (reconciler, feed):
        for _ in range(1_000):
            request_refresh(reconciler, feed)
            await asyncio.sleep(0.05)
    assert min(database.query_intervals) >= calls * PAUSE_SECONDS_PER_CALL - 0.001
    looks = len(database.queries)
    assert looks > 90 if not calls else 30 < looks < 35, "each has its pause, and not more"


@in_virtual_time
async def test_missing_event_during_a_refresh_is_handled_soon():
    database = FakeDatabase(0.04)
    async with make_reconciler(database) as (reconciler, feed):
        await asyncio.sleep(1.1)  # the first took two questions, 0.08 s; amid the second
        request_refresh(reconciler, feed)
        await asyncio.sleep(0.4)
        assert len(database.queries) == 2
        await asyncio.sleep(0.2)
        assert len(database.queries) == 3


@in_virtual_time
async def test_new_feed_is_refreshed_at_once_and_does_not_starve_others():
    database = FakeDatabase(0.5, calls=2_500)
    async with make_reconciler(database) as (reconciler, feed):
        for turn in range(20):
            await asyncio.sleep(2)
            query_times = len(database.query_times)
            feed.refresh_requested = True
            reconciler.request_refresh(immediately=True)
            await asyncio.sleep(0.51)
            assert len(database.query_times) > query_times, turn
    recents = [ended for (_, ended), (after, _) in pairwise(database.query_times) if after == ended]
    assert max(after - before for before, after in pairwise(recents)) < RECENTLY_ENDED_SECONDS


@in_virtual_time
async def test_failed_refresh_does_not_delay_the_next():
    database = FakeDatabase(5.0, error=DatabaseUnavailable())
    async with make_reconciler(database):
        await asyncio.sleep(60)
    assert database.query_intervals == pytest.approx([POLL_INTERVAL_SECONDS] * (len(database.queries) - 1))


def test_calls_that_end_between_two_full_refreshes_are_read():
    assert MAX_PAUSE_SECONDS + FULL_REFRESH_INTERVAL_SECONDS + 2 * QUERY_TIMEOUT_SECONDS < RECENTLY_ENDED_SECONDS
