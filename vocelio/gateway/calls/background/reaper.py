"""Heartbeats of this process's streams, and the reaper of calls without a sign of life.

A process that dies leaves calls behind. Twilio returns for those that can continue; the others are found here, by any
process, and ended. After an outage of the store the reaper waits for everybody's next heartbeat: those that could not
be written are no sign of death.
"""

import asyncio
from collections.abc import Sequence

from vocelio.gateway.aio.tasks import PeriodicTask
from vocelio.gateway.calls.lifecycle import CallLifecycle
from vocelio.gateway.calls.registry import CallRegistry
from vocelio.gateway.clock import WallClock
from vocelio.gateway.errors import DatabaseUnavailable
from vocelio.gateway.store.calls.interface import CallStore, StoredCall

HEARTBEAT_SECONDS = 20.0
MAX_CALLS_PER_SWEEP = 200  # calls that one sweep ends; the next one ends more
PURGE_AFTER_SECONDS = 600.0  # after a call's end: Twilio does not return for a lost call then
UNREADABLE_GRACE_SECONDS = 3 * HEARTBEAT_SECONDS  # for a process that has the key to end an expired call itself
SWEEP_DELAY_SECONDS = 2 * HEARTBEAT_SECONDS  # after the store answers again


class CallReaper:
    """Runs from ``start`` to ``aclose``."""

    def __init__(
        self, registry: CallRegistry, lifecycle: CallLifecycle, call_store: CallStore, wall_clock: WallClock
    ) -> None:
        self._registry, self._lifecycle = registry, lifecycle
        self._call_store, self._wall_clock = call_store, wall_clock
        self._periodic = PeriodicTask("call reaper", HEARTBEAT_SECONDS, self._beat)
        self._store_available_since: float | None = None  # loop time

    async def start(self) -> None:
        await self._periodic.start()

    async def aclose(self) -> None:
        await self._periodic.aclose()

    async def _beat(self) -> None:
        loop = asyncio.get_running_loop()
        for session in list(self._registry.live_calls.values()):
            session.heartbeat()
        try:
            now = self._wall_clock()
            unreadable_before = now - round(UNREADABLE_GRACE_SECONDS * 1e6)
            expired = await self._call_store.find_expired(now, MAX_CALLS_PER_SWEEP, unreadable_before)
            if self._store_available_since is None:
                self._store_available_since = loop.time()
            await self._lifecycle.flush_status_updates()
            if loop.time() >= self._store_available_since + SWEEP_DELAY_SECONDS:
                await self._sweep(expired)
        except DatabaseUnavailable:
            self._store_available_since = None
            raise

    async def _sweep(self, expired: Sequence[StoredCall]) -> None:
        for stored in expired:
            await self._lifecycle.end_if_expired(stored)
        await self._call_store.purge_state(self._wall_clock() - round(PURGE_AFTER_SECONDS * 1e6))
