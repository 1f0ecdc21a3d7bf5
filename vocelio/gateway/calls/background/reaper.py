"""The heartbeat of this process's streams, and the sweep for calls of which nobody has heard in time.

A process that dies leaves calls behind. Twilio comes back for those that go on; the others are found here, by any
process, and ended with what is known of them. After a time without the store the sweep waits for everybody's next
heartbeat: those that could not be written are no sign of death.
"""

import asyncio
from collections.abc import Sequence

from vocelio.gateway.aio.tasks import PeriodicTask
from vocelio.gateway.calls.registry import CallRegistry
from vocelio.gateway.errors import DatabaseUnavailable
from vocelio.gateway.store.calls.interface import StoredCall

HEARTBEAT_SECONDS = 20.0  # seconds
MAX_CALLS_PER_SWEEP = 200  # calls that one sweep ends; the next ends more
PURGE_AFTER_SECONDS = 600.0  # seconds after its end: nobody comes back for a call that was lost then
SWEEP_DELAY_SECONDS = 2 * HEARTBEAT_SECONDS  # seconds since the store answers


class CallReaper:
    """Runs from ``start`` to ``aclose``."""

    def __init__(self, registry: CallRegistry) -> None:
        self._registry = registry
        self._periodic = PeriodicTask("sweep of calls", HEARTBEAT_SECONDS, self._beat)
        self._store_available_since: float | None = None  # since when the store answers, by the loop's clock

    async def start(self) -> None:
        """Begin."""
        await self._periodic.start()

    async def aclose(self) -> None:
        """End at once."""
        await self._periodic.aclose()

    async def _beat(self) -> None:
        loop = asyncio.get_running_loop()
        for live in list(self._registry.live_calls.values()):
            live.heartbeat()
        try:
            overdue = await self._registry.services.call_store.find_expired(
                self._registry.services.wall_clock(), MAX_CALLS_PER_SWEEP
            )
            self._store_available_since = (
                loop.time() if self._store_available_since is None else self._store_available_since
            )
            await self._registry.flush_status_updates()
            if loop.time() >= self._store_available_since + SWEEP_DELAY_SECONDS:
                await self._sweep(overdue)
        except DatabaseUnavailable:
            self._store_available_since = None
            raise

    async def _sweep(self, expired: Sequence[StoredCall]) -> None:
        for kept in expired:
            await self._registry.end_if_expired(kept)
        await self._registry.services.call_store.purge_state(
            self._registry.services.wall_clock() - round(PURGE_AFTER_SECONDS * 1e6)
        )
