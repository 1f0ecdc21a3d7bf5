"""The monitors of one process: one feed per watched tenant, for as long as it has monitors."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from vocelio.gateway.clock import WallClock
from vocelio.gateway.errors import DatabaseUnavailable
from vocelio.gateway.events import EventBus
from vocelio.gateway.monitors.call_view import EventFilter
from vocelio.gateway.monitors.key_revocation import KeyRevocationWatcher
from vocelio.gateway.monitors.reconciler import POLL_INTERVAL_SECONDS, StoreReconciler
from vocelio.gateway.monitors.send_queue import SendQueue
from vocelio.gateway.monitors.tenant_feed import TenantFeed
from vocelio.gateway.store.db.database import Database

READY_TIMEOUT_SECONDS = 3.0  # for the first read of the live calls


class MonitorService:
    """Opens feeds. The database is read every ``poll_interval_seconds``."""

    def __init__(
        self,
        bus: EventBus,
        database: Database,
        wall: WallClock,
        key_watcher: KeyRevocationWatcher | None = None,
        poll_interval_seconds: float = POLL_INTERVAL_SECONDS,
    ) -> None:
        self.key_watcher = key_watcher or KeyRevocationWatcher(database, wall)
        self._bus, self._wall = bus, wall
        self._feeds: dict[str, TenantFeed] = {}
        self._reconciler = StoreReconciler(self._feeds, database, wall, poll_interval_seconds)
        self._refcounts: dict[str, int] = {}

    @asynccontextmanager
    async def subscribe(self, tenant: str, event_filter: EventFilter) -> AsyncIterator[SendQueue]:
        """Open the queue of a monitor of the tenant, or of all tenants. Raises DatabaseUnavailable."""
        feed = self._acquire_feed(tenant)
        try:
            try:
                async with asyncio.timeout(READY_TIMEOUT_SECONDS):
                    await feed.ready.wait()
            except TimeoutError:
                raise DatabaseUnavailable from None
            queue = feed.add_queue(event_filter)
            try:
                yield queue
            finally:
                feed.queues.discard(queue)
        finally:
            await self._release_feed(tenant, feed)

    def _acquire_feed(self, tenant: str) -> TenantFeed:
        feed = self._feeds.get(tenant)
        if feed is None:
            feed = self._feeds[tenant] = TenantFeed(tenant, self._bus, self._wall, self._reconciler.request_refresh)
            feed.start()
        self._refcounts[tenant] = self._refcounts.get(tenant, 0) + 1
        return feed

    async def _release_feed(self, tenant: str, feed: TenantFeed) -> None:
        self._refcounts[tenant] -= 1
        if not self._refcounts[tenant]:
            del self._refcounts[tenant], self._feeds[tenant]
            await feed.aclose()

    async def start(self) -> None:
        await self.key_watcher.start()
        await self._reconciler.start()

    async def aclose(self) -> None:
        """Stop; open feeds receive nothing more."""
        await self.key_watcher.aclose()
        await self._reconciler.aclose()
        await asyncio.gather(*(feed.aclose() for feed in self._feeds.values()))
