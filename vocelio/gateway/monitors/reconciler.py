"""One look into the store for all hubs of a process, every second: a query for each would cost more than the calls do.

A hub that knows that it misses something is looked after sooner, together with whichever others do. Which calls have
ended of late is asked for a hub that has just begun or lost events, and now and then for all: a process that was killed
may have told nobody of a short one.

A look at thousands of calls takes the time of those that live in the same process. So the pause after it grows with
their number: pictures that nothing mends meanwhile are wrong for longer, and no caller hears anything of it.
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

POLL_INTERVAL_SECONDS = 1.0  # between two looks
GAP_DELAY_SECONDS = 0.1  # from a hole in a call's events to the look that mends it: what is on its way has come by then
MIN_INTERVAL_SECONDS = 0.5  # between two looks at least, however many holes there are
PAUSE_SECONDS_PER_CALL = 0.0005  # of pause after a look, for each call that it found: ten times the CPU that it takes
MAX_PAUSE_SECONDS = 15.0  # of such a pause
FULL_REFRESH_INTERVAL_SECONDS = 10.0  # between two looks at calls that have ended
RECENTLY_ENDED_SECONDS = 50.0  # since they have: of those that are shown, but for the ones that are forgotten soon
QUERY_TIMEOUT_SECONDS = 5.0
MAX_TENANTS_PER_QUERY = 100  # of one query


class StoreReconciler:
    """Looks for those in ``hubs``, by tenant, from ``start`` to ``aclose``. ``seconds`` lie between two looks."""

    def __init__(
        self,
        feeds: dict[str, TenantFeed],
        database: Database,
        wall: WallClock,
        interval_seconds: float = POLL_INTERVAL_SECONDS,
    ) -> None:
        self._interval_seconds = interval_seconds
        self._feeds, self._database, self._wall = feeds, database, wall
        self._wakeup = asyncio.Event()  # the next look is due sooner
        self._next_refresh = self._earliest_refresh = (
            0.0  # by the loop's clock: the next look, and the first one to which holes may lead
        )
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin."""
        self._task = asyncio.create_task(self._run(), name="look of monitors")

    async def aclose(self) -> None:
        """End at once."""
        if self._task:
            self._task.cancel()
            await asyncio.wait({self._task})

    def request_refresh(self, immediately: bool) -> None:
        """A hub is hurried: it has just begun, or misses what may be on its way."""
        now = asyncio.get_running_loop().time()
        due = now if immediately else max(now + GAP_DELAY_SECONDS, self._earliest_refresh)
        if due < self._next_refresh:
            self._next_refresh = due
            self._wakeup.set()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        regular = whole = latest = loop.time()
        while True:
            now, hubs = loop.time(), list(self._feeds.values())
            self._next_refresh = self._earliest_refresh = math.inf
            if now < regular:
                pause = await self._refresh([hub for hub in hubs if hub.refresh_requested], full=False)
                regular = max(regular, min(loop.time() + pause, latest))
            else:
                pause = await self._refresh(hubs, full=now >= whole)
                whole = now + FULL_REFRESH_INTERVAL_SECONDS if now >= whole else whole
                regular = loop.time() + max(pause, self._interval_seconds)
                latest = loop.time() + MAX_PAUSE_SECONDS  # however often hubs begin meanwhile
            self._earliest_refresh = max(now + MIN_INTERVAL_SECONDS, loop.time() + pause)
            if any(hub.refresh_requested for hub in self._feeds.values()):  # while this look was taken
                self.request_refresh(immediately=False)
            self._next_refresh = min(self._next_refresh, regular)
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
        """Look for those; how many seconds have to pass then until the next look."""
        gaps = {hub: hub.unreported_gaps for hub in feeds}
        for hub in feeds:
            hub.refresh_requested = False
        try:
            found = await self._load_rows(feeds, full=full)
        except DatabaseUnavailable:
            return 0.0  # the pictures are as events have them until it is back
        except Exception:  # our own defect: the next look may do better, and calls do not depend on this
            LOG.exception("what monitors should see could not be read")
            return 0.0
        for hub in feeds:
            try:
                await hub.apply_snapshot(found[hub], gaps[hub])
            except Exception:  # as above, and neither do other tenants
                LOG.exception("the pictures of %s's calls could not be set right", hub.tenant or "everybody")
        return min(PAUSE_SECONDS_PER_CALL * sum(map(len, found.values())), MAX_PAUSE_SECONDS)

    async def _load_rows(self, feeds: Sequence[TenantFeed], *, full: bool) -> dict[TenantFeed, list[LiveCallRow]]:
        """What the store has for each, with the ``whole`` of what has ended of late. Raises StoreUnavailable."""
        rows: list[LiveCallRow] = []
        for group in _tenant_groups(feeds):
            rows += await self._query(live.list_live(self._database, group))
        since = self._wall() - round(RECENTLY_ENDED_SECONDS * 1e6)
        for group in _tenant_groups([hub for hub in feeds if full or hub.unreported_gaps or not hub.ready.is_set()]):
            rows += await self._query(live.list_recently_ended(self._database, group, since))
        found = _group_by_feed(feeds, rows)
        if missing := {key for hub in feeds for key in hub.find_missing(found[hub])}:
            others = _group_by_feed(feeds, await self._query(live.get_many(self._database, sorted(missing))))
            found = {hub: rows + others[hub] for hub, rows in found.items()}
        return found

    async def _query(self, query: Coroutine[Any, Any, list[LiveCallRow]]) -> list[LiveCallRow]:
        return await self._database.with_timeout(query, QUERY_TIMEOUT_SECONDS)


def _tenant_groups(feeds: Sequence[TenantFeed]) -> list[list[str] | None]:
    """Their tenants, as many at a time as one query takes; None: everybody's."""
    tenants = sorted(hub.tenant for hub in feeds)
    if ALL_TENANTS in tenants:
        return [None]
    return [tenants[place : place + MAX_TENANTS_PER_QUERY] for place in range(0, len(tenants), MAX_TENANTS_PER_QUERY)]


def _group_by_feed(feeds: Sequence[TenantFeed], rows: Collection[LiveCallRow]) -> dict[TenantFeed, list[LiveCallRow]]:
    by_tenant = defaultdict[str, list[LiveCallRow]](list)
    for row in rows:
        by_tenant[row.tenant].append(row)
    return {hub: list(rows) if hub.tenant == ALL_TENANTS else by_tenant[hub.tenant] for hub in feeds}
