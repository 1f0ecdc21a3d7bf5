"""The monitors of one process: a hub for each tenant that somebody watches, for as long as somebody does."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from vocelio.gateway.clock import WallClock
from vocelio.gateway.errors import StoreUnavailable
from vocelio.gateway.events import EventBus
from vocelio.gateway.monitors.event_filter import Wanted
from vocelio.gateway.monitors.key_revocation import Guard
from vocelio.gateway.monitors.reconciler import LOOK_SECONDS, Look
from vocelio.gateway.monitors.send_queue import Outbox
from vocelio.gateway.monitors.tenant_feed import Hub
from vocelio.gateway.store.db.database import Database

READY_SECONDS = 3.0  # for the store to say what is live


class Monitors:
    """Opens feeds. ``look`` is the time in seconds between two looks into the store."""

    def __init__(
        self, bus: EventBus, database: Database, wall: WallClock, guard: Guard | None = None, look: float = LOOK_SECONDS
    ) -> None:
        self.guard = guard or Guard(database, wall)
        self._bus, self._wall = bus, wall
        self._hubs: dict[str, Hub] = {}
        self._look = Look(self._hubs, database, wall, look)
        self._visitors: dict[str, int] = {}

    @asynccontextmanager
    async def feed(self, tenant: str, wanted: Wanted) -> AsyncIterator[Outbox]:
        """What a monitor of the tenant's, or of everybody's, is to be sent. Raises StoreUnavailable."""
        hub = self._enter(tenant)
        try:
            try:
                async with asyncio.timeout(READY_SECONDS):
                    await hub.ready.wait()
            except TimeoutError:
                raise StoreUnavailable from None
            outbox = hub.outbox(wanted)
            try:
                yield outbox
            finally:
                hub.audience.discard(outbox)
        finally:
            await self._leave(tenant, hub)

    def _enter(self, tenant: str) -> Hub:
        hub = self._hubs.get(tenant)
        if hub is None:
            hub = self._hubs[tenant] = Hub(tenant, self._bus, self._wall, self._look.soon)
            hub.start()
        self._visitors[tenant] = self._visitors.get(tenant, 0) + 1
        return hub

    async def _leave(self, tenant: str, hub: Hub) -> None:
        self._visitors[tenant] -= 1
        if not self._visitors[tenant]:
            del self._visitors[tenant], self._hubs[tenant]
            await hub.aclose()

    async def start(self) -> None:
        """Begin to look after the pictures, and the keys of whoever watches."""
        await self.guard.start()
        await self._look.start()

    async def aclose(self) -> None:
        """End; feeds that are open get nothing more."""
        await self.guard.aclose()
        await self._look.aclose()
        await asyncio.gather(*(hub.aclose() for hub in self._hubs.values()))
