"""Reads the live calls from the database once per second for all tenant feeds of this process and repairs their views.

One query per feed would cost more than the calls themselves. A feed that misses events is refreshed sooner, together
with all others that do. Recently ended calls are read for feeds that have just started or lost events, and now and then
for all, since a killed process may have published nothing about a short call.

Reading thousands of calls takes time from the live calls of this process. So the pause after a refresh grows with the
number of rows: wrong views are corrected later, but no caller notices.
"""

import asyncio
import logging
import math
from collections import defaultdict
from collections.abc import Collection, Coroutine, Sequence
from typing import Any

from vocelio.gateway.clock import WallClock
from vocelio.gateway.errors import DatabaseUnavailable
from vocelio.gateway.events.bus import ALL_TENANTS
from vocelio.gateway.monitors.tenant_feed import TenantFeed
from vocelio.gateway.store.calls import live
from vocelio.gateway.store.calls.live import LiveCallRow
from vocelio.gateway.store.db.database import Database

LOG = logging.getLogger(__name__)

POLL_INTERVAL_SECONDS = 1.0
GAP_DELAY_SECONDS = 0.1  # before a refresh because of a missing event, which may only be late
MIN_INTERVAL_SECONDS = 0.5  # between two refreshes, however many events are missing
PAUSE_SECONDS_PER_CALL = 0.0005  # of pause after a refresh, per row: ten times the CPU time of a row
MAX_PAUSE_SECONDS = 15.0
FULL_REFRESH_INTERVAL_SECONDS = 10.0  # between two refreshes with recently ended calls for all feeds
RECENTLY_ENDED_SECONDS = 50.0  # a little less than ENDED_RETENTION_SECONDS of the feeds
QUERY_TIMEOUT_SECONDS = 5.0
MAX_TENANTS_PER_QUERY = 100


class StoreReconciler:
    """Refreshes ``feeds`` (by tenant), which may change at any time, every ``interval_seconds``."""

    def __init__(
        self,
        feeds: dict[str, TenantFeed],
        database: Database,
        wall: WallClock,
        interval_seconds: float = POLL_INTERVAL_SECONDS,
    ) -> None:
        self._interval_seconds = interval_seconds
        self._feeds, self._database, self._wall = feeds, database, wall
        self._wakeup = asyncio.Event()  # set when the next refresh has become due earlier
        self._next_refresh = 0.0  # by the loop's clock
        self._earliest_refresh = 0.0  # the earliest one because of missing events
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="reconciler of monitors")

    async def aclose(self) -> None:
        if self._task:
            self._task.cancel()
            await asyncio.wait({self._task})

    def request_refresh(self, immediately: bool) -> None:
        """Refresh a feed immediately, because it has just started, or soon, because it misses events."""
        now = asyncio.get_running_loop().time()
        due = now if immediately else max(now + GAP_DELAY_SECONDS, self._earliest_refresh)
        if due < self._next_refresh:
            self._next_refresh = due
            self._wakeup.set()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        next_poll = next_full = latest_poll = loop.time()
        while True:
            now, feeds = loop.time(), list(self._feeds.values())
            self._next_refresh = self._earliest_refresh = math.inf
            if now < next_poll:
                pause = await self._refresh([feed for feed in feeds if feed.refresh_requested], full=False)
                next_poll = max(next_poll, min(loop.time() + pause, latest_poll))
            else:
                pause = await self._refresh(feeds, full=now >= next_full)
                next_full = now + FULL_REFRESH_INTERVAL_SECONDS if now >= next_full else next_full
                next_poll = loop.time() + max(pause, self._interval_seconds)
                latest_poll = loop.time() + MAX_PAUSE_SECONDS  # however many feeds start meanwhile
            self._earliest_refresh = max(now + MIN_INTERVAL_SECONDS, loop.time() + pause)
            if any(feed.refresh_requested for feed in self._feeds.values()):  # during this refresh
                self.request_refresh(immediately=False)
            self._next_refresh = min(self._next_refresh, next_poll)
            while loop.time() < self._next_refresh:
                await self._wait()

    async def _wait(self) -> None:
        self._wakeup.clear()
        try:
            async with asyncio.timeout_at(self._next_refresh):
                await self._wakeup.wait()
        except TimeoutError:
            pass

    async def _refresh(self, feeds: Sequence[TenantFeed], *, full: bool) -> float:
        """Refresh the feeds; return the seconds of pause before the next refresh."""
        gaps = {feed: feed.unreported_gaps for feed in feeds}
        for feed in feeds:
            feed.refresh_requested = False
        try:
            rows = await self._load_rows(feeds, full=full)
        except DatabaseUnavailable:
            return 0.0  # until it is back the views depend on events
        except Exception:  # a defect: calls do not depend on this, and the next refresh may succeed
            LOG.exception("live calls could not be read for monitors; trying again")
            return 0.0
        for feed in feeds:
            try:
                await feed.apply_snapshot(rows[feed], gaps[feed])
            except Exception:  # a defect, which must not affect other tenants
                LOG.exception("call views of tenant %s could not be refreshed", feed.tenant or "(all)")
        return min(PAUSE_SECONDS_PER_CALL * sum(map(len, rows.values())), MAX_PAUSE_SECONDS)

    async def _load_rows(self, feeds: Sequence[TenantFeed], *, full: bool) -> dict[TenantFeed, list[LiveCallRow]]:
        """Read the rows of each feed; ``full`` includes recently ended calls for all. Raises DatabaseUnavailable."""
        rows: list[LiveCallRow] = []
        for group in _tenant_groups(feeds):
            rows += await self._query(live.list_live(self._database, group))
        since = self._wall() - round(RECENTLY_ENDED_SECONDS * 1e6)
        for group in _tenant_groups(
            [feed for feed in feeds if full or feed.unreported_gaps or not feed.ready.is_set()]
        ):
            rows += await self._query(live.list_recently_ended(self._database, group, since))
        by_feed = _group_by_feed(feeds, rows)
        if missing := {key for feed in feeds for key in feed.find_missing(by_feed[feed])}:
            others = _group_by_feed(feeds, await self._query(live.get_many(self._database, sorted(missing))))
            by_feed = {feed: rows + others[feed] for feed, rows in by_feed.items()}
        return by_feed

    async def _query(self, query: Coroutine[Any, Any, list[LiveCallRow]]) -> list[LiveCallRow]:
        return await self._database.with_timeout(query, QUERY_TIMEOUT_SECONDS)


def _tenant_groups(feeds: Sequence[TenantFeed]) -> list[list[str] | None]:
    """Return the tenants in groups of one query each; None stands for all tenants."""
    tenants = sorted(feed.tenant for feed in feeds)
    if ALL_TENANTS in tenants:
        return [None]
    return [tenants[start : start + MAX_TENANTS_PER_QUERY] for start in range(0, len(tenants), MAX_TENANTS_PER_QUERY)]


def _group_by_feed(feeds: Sequence[TenantFeed], rows: Collection[LiveCallRow]) -> dict[TenantFeed, list[LiveCallRow]]:
    by_tenant = defaultdict[str, list[LiveCallRow]](list)
    for row in rows:
        by_tenant[row.tenant].append(row)
    return {feed: list(rows) if feed.tenant == ALL_TENANTS else by_tenant[feed.tenant] for feed in feeds}
