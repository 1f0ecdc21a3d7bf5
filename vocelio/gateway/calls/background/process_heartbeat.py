"""Heartbeat of this process: its row in the processes table, with its load, for all other processes; and theirs."""

import logging
import os
import socket
from collections.abc import Coroutine
from contextlib import suppress
from importlib.metadata import version
from typing import Any, TypeVar

from vocelio.gateway.aio.tasks import PeriodicTask
from vocelio.gateway.calls.components import CallComponents
from vocelio.gateway.clock import Instant
from vocelio.gateway.errors import DatabaseUnavailable
from vocelio.gateway.store import process_heartbeats
from vocelio.gateway.store.calls import live as live_calls
from vocelio.gateway.store.db.database import Database
from vocelio.gateway.store.process_heartbeats import Process

LOG = logging.getLogger(__name__)

T = TypeVar("T")

HEARTBEAT_INTERVAL_SECONDS = 3.0  # a tenth of the time after which a process is taken for dead
FRESH_MICROSECONDS = 4_000_000  # age of a heartbeat whose process still serves, as far as one can tell
QUERY_TIMEOUT_SECONDS = 2.0  # for the database
DELETE_TIMEOUT_SECONDS = 0.4  # at exit there is no time


class ProcessHeartbeat:
    """Runs from ``start`` to ``aclose``."""

    def __init__(self, database: Database, calls: CallComponents) -> None:
        self.id = calls.process_id
        self._database, self._wall_clock = database, calls.services.wall_clock
        self._registry, self._lifecycle, self._admission = calls.registry, calls.lifecycle, calls.admission
        self._started_at = self._last_heartbeat_at = self._wall_clock()
        self._calls_started = 0
        self._periodic = PeriodicTask("process heartbeat", HEARTBEAT_INTERVAL_SECONDS, self._write)

    async def start(self) -> None:
        await self._periodic.start()

    async def aclose(self) -> None:
        """Stop, and delete the row."""
        await self._periodic.aclose()
        try:
            await self._database.with_timeout(
                process_heartbeats.delete_process(self._database, self.id), DELETE_TIMEOUT_SECONDS
            )
        except DatabaseUnavailable:
            LOG.info("database unavailable: the heartbeat of this process expires later")

    async def announce_draining(self) -> None:
        """Write a heartbeat now, which tells the others that this process is draining. Never raises."""
        with suppress(DatabaseUnavailable):
            await self._write()

    async def are_serving(self) -> bool:
        """Whether another process accepts calls; False while the database is unavailable."""
        now = self._wall_clock()
        with suppress(DatabaseUnavailable):
            listed = process_heartbeats.list_processes(self._database, now)
            others = [process for process in await self._with_timeout(listed) if process.id != self.id]
            return any(not other.draining and now - other.last_seen_at < FRESH_MICROSECONDS for other in others)
        return False

    async def count_calls_without_stream(self) -> int:
        """Count the live calls whose stream is not here; 0 while the database is unavailable."""
        with suppress(DatabaseUnavailable):
            live = await self._with_timeout(live_calls.count_in_progress(self._database, self._wall_clock()))
            return max(0, live - len(self._registry.live_calls))
        return 0

    async def _write(self) -> None:
        await self._with_timeout(process_heartbeats.upsert_process(self._database, self._status()))

    async def _with_timeout(self, query: Coroutine[Any, Any, T]) -> T:
        return await self._database.with_timeout(query, QUERY_TIMEOUT_SECONDS)

    def _status(self) -> Process:
        now, calls_started = self._wall_clock(), self._lifecycle.calls_started
        started, seconds = calls_started - self._calls_started, max(now - self._last_heartbeat_at, 1) / 1e6
        self._calls_started, self._last_heartbeat_at = calls_started, now
        return Process(
            id=self.id,
            host=socket.gethostname(),
            pid=os.getpid(),
            version=version("vocelio"),
            started_at=Instant(self._started_at),
            last_seen_at=Instant(now),
            capacity=self._admission.max_calls,
            live_calls=len(self._registry.live_calls),
            calls_per_second=round(started / seconds, 3),
            event_loop_lag_ms=round(self._admission.lag_seconds * 1_000, 1),
            draining=self._registry.draining,
        )
