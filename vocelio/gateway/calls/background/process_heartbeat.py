"""This process tells all others, by the database, that it is there and how it stands."""

import logging
import os
import socket
from importlib.metadata import version

from vocelio.gateway.aio.tasks import PeriodicTask
from vocelio.gateway.calls.registry import CallRegistry
from vocelio.gateway.errors import DatabaseUnavailable
from vocelio.gateway.store import process_heartbeats
from vocelio.gateway.store.db.database import Database
from vocelio.gateway.store.process_heartbeats import Process

LOG = logging.getLogger(__name__)

HEARTBEAT_INTERVAL_SECONDS = 3.0  # from one word to the next: a tenth of what it takes to be taken for gone
WRITE_TIMEOUT_SECONDS = 2.0  # for the database to take one
DELETE_TIMEOUT_SECONDS = 0.4  # a process that leaves has no time


class ProcessHeartbeat:
    """Runs from ``start`` to ``aclose``."""

    def __init__(self, database: Database, registry: CallRegistry) -> None:
        self.id = registry.services.bus.pubsub.process
        self._database, self._registry = database, registry
        self._started_at = self._last_heartbeat_at = registry.services.wall_clock()
        self._calls_started = 0
        self._periodic = PeriodicTask("word of this process", HEARTBEAT_INTERVAL_SECONDS, self._write)

    async def start(self) -> None:
        """Begin."""
        await self._periodic.start()

    async def aclose(self) -> None:
        """End, and be gone for the others."""
        await self._periodic.aclose()
        try:
            await self._database.with_timeout(
                process_heartbeats.delete_process(self._database, self.id), DELETE_TIMEOUT_SECONDS
            )
        except DatabaseUnavailable:
            LOG.info("the other processes will miss this one in a while")

    async def _write(self) -> None:
        await self._database.with_timeout(
            process_heartbeats.upsert_process(self._database, self._status()), WRITE_TIMEOUT_SECONDS
        )

    def _status(self) -> Process:
        calls, load, now = self._registry, self._registry.admission, self._registry.services.wall_clock()
        begun, seconds = calls.calls_started - self._calls_started, max(now - self._last_heartbeat_at, 1) / 1e6
        self._calls_started, self._last_heartbeat_at = calls.calls_started, now
        return Process(
            id=self.id,
            host=socket.gethostname(),
            pid=os.getpid(),
            version=version("vocelio"),
            started_at=self._started_at,
            last_seen_at=now,
            capacity=load.max_calls,
            live_calls=len(calls.live_calls),
            calls_per_second=round(begun / seconds, 3),
            event_loop_lag_ms=round(load.lag_seconds * 1_000, 1),
            draining=calls.draining,
        )
