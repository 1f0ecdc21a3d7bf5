"""This process tells all others, by the database, that it is there and how it stands."""

import logging
import os
import socket
from importlib.metadata import version

from vocelio.gateway.aio.periodic import Periodic
from vocelio.gateway.calls.registry import Calls
from vocelio.gateway.errors import StoreUnavailable
from vocelio.gateway.store import process_heartbeats
from vocelio.gateway.store.db.database import Database
from vocelio.gateway.store.process_heartbeats import Process

LOG = logging.getLogger(__name__)

BEAT_SECONDS = 3.0  # from one word to the next: a tenth of what it takes to be taken for gone
STORE_SECONDS = 2.0  # for the database to take one
GOODBYE_SECONDS = 0.4  # a process that leaves has no time


class Presence:
    """Runs from ``start`` to ``aclose``."""

    def __init__(self, database: Database, calls: Calls) -> None:
        self.id = calls.services.bus.line.process
        self._database, self._calls = database, calls
        self._started = self._seen = calls.services.wall()
        self._begun = 0
        self._telling = Periodic("word of this process", BEAT_SECONDS, self._tell)

    async def start(self) -> None:
        """Begin."""
        await self._telling.start()

    async def aclose(self) -> None:
        """End, and be gone for the others."""
        await self._telling.aclose()
        try:
            await self._database.in_time(process_heartbeats.forget(self._database, self.id), GOODBYE_SECONDS)
        except StoreUnavailable:
            LOG.info("the other processes will miss this one in a while")

    async def _tell(self) -> None:
        await self._database.in_time(process_heartbeats.tell(self._database, self._standing()), STORE_SECONDS)

    def _standing(self) -> Process:
        calls, load, now = self._calls, self._calls.load, self._calls.services.wall()
        begun, seconds = calls.begun - self._begun, max(now - self._seen, 1) / 1e6
        self._begun, self._seen = calls.begun, now
        return Process(
            id=self.id,
            host=socket.gethostname(),
            pid=os.getpid(),
            version=version("vocelio"),
            started=self._started,
            seen=now,
            capacity=load.capacity,
            live_calls=len(calls.live),
            calls_per_second=round(begun / seconds, 3),
            lag_ms=round(load.lag * 1_000, 1),
            draining=calls.draining,
        )
