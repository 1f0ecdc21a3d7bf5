"""Sockets that stay open for hours, by a key that may be revoked meanwhile: the keys in use are looked at all the time.

A key that is no good any more ends its sockets within seconds, in every process. While the store does not answer they
go on: they were let in by a good key.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from vocelio.gateway.aio.periodic import Periodic
from vocelio.gateway.clock import WallClock
from vocelio.gateway.errors import TooMany
from vocelio.gateway.store import api_keys
from vocelio.gateway.store.db.database import Database

LOG = logging.getLogger(__name__)

LOOK_SECONDS = 2.0
STORE_SECONDS = 5.0
PER_KEY, PER_PROCESS = 50, 2_000  # sockets: screens on walls and in browsers; each may take a megabyte
WAIT_SECONDS = 30.0  # that one is told to wait who is not let in


class Guard:
    """The sockets of one process. ``look`` is in seconds."""

    def __init__(
        self,
        database: Database,
        wall: WallClock,
        look: float = LOOK_SECONDS,
        per_key: int = PER_KEY,
        per_process: int = PER_PROCESS,
    ) -> None:
        self._database, self._wall = database, wall
        self._per_key, self._per_process = per_key, per_process
        self._open: dict[str, list[Callable[[], None]]] = {}
        self._looking = Periodic("look at the keys of sockets", look, self.look)

    @contextmanager
    def admitted(self, key: str, end: Callable[[], None]) -> Iterator[None]:
        """A socket of the key's; ``end`` is called when the key is no good any more. Raises TooMany."""
        if len(self._open.get(key, ())) >= self._per_key:
            raise TooMany(f"The key has {self._per_key} sockets open, which is as many as it may.", WAIT_SECONDS)
        if sum(map(len, self._open.values())) >= self._per_process:
            raise TooMany("There are too many sockets open here.", WAIT_SECONDS)
        ends = self._open.setdefault(key, [])
        ends.append(end)
        try:
            yield
        finally:
            ends.remove(end)
            if not ends:
                self._open.pop(key, None)

    async def start(self) -> None:
        """Begin to look."""
        await self._looking.start()

    async def aclose(self) -> None:
        """End at once."""
        await self._looking.aclose()

    async def look(self) -> None:
        """End the sockets of keys that are no good any more. Raises StoreUnavailable."""
        if not self._open:
            return
        asked = list(self._open)
        good = await self._database.in_time(api_keys.good(self._database, asked, self._wall()), STORE_SECONDS)
        for key in set(asked) - good:
            LOG.info("key %s is no good any more: its sockets end", key)
            for end in list(self._open.get(key, ())):
                end()
