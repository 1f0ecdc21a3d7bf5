"""The monitors of one process: a hub for each tenant that somebody watches, for as long as somebody does."""

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

READY_TIMEOUT_SECONDS = 3.0  # for the store to say what is live


class MonitorService:
    """Opens feeds. ``look`` is the time in seconds between two looks into the store."""

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
        """What a monitor of the tenant's, or of everybody's, is to be sent. Raises StoreUnavailable."""
        hub = self._acquire_feed(tenant)
        try:
            try:
                async with asyncio.timeout(READY_TIMEOUT_SECONDS):
                    await hub.ready.wait()
            except TimeoutError:
                raise DatabaseUnavailable from None
            outbox = hub.add_queue(event_filter)
            try:
                yield outbox
            finally:
                hub.queues.discard(outbox)
        finally:
            await self._release_feed(tenant, hub)

    def _acquire_feed(self, tenant: str) -> TenantFeed:
        hub = self._feeds.get(tenant)
        if hub is None:
            hub = self._feeds[tenant] = TenantFeed(tenant, self._bus, self._wall, self._reconciler.request_refresh)
            hub.start()
        self._refcounts[tenant] = self._refcounts.get(tenant, 0) + 1
        return hub

    async def _release_feed(self, tenant: str, feed: TenantFeed) -> None:
        self._refcounts[tenant] -= 1
        if not self._refcounts[tenant]:
            del self._refcounts[tenant], self._feeds[tenant]
            await feed.aclose()

    async def start(self) -> None:
        """Begin to look after the pictures, and the keys of whoever watches."""
        await self.key_watcher.start()
        await self._reconciler.start()

    async def aclose(self) -> None:
        """End; feeds that are open get nothing more."""
        await self.key_watcher.aclose()
        await self._reconciler.aclose()
        await asyncio.gather(*(hub.aclose() for hub in self._feeds.values()))
