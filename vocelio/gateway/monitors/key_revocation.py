"""Sockets that stay open for hours, by a key that may be revoked meanwhile: the keys in use are looked at all the time.

A key that is no good any more ends its sockets within seconds, in every process. While the store does not answer they
go on: they were let in by a good key.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from vocelio.gateway.aio.tasks import PeriodicTask
from vocelio.gateway.clock import WallClock
from vocelio.gateway.errors import RateLimited
from vocelio.gateway.store import api_keys
from vocelio.gateway.store.db.database import Database

LOG = logging.getLogger(__name__)

CHECK_INTERVAL_SECONDS = 2.0
QUERY_TIMEOUT_SECONDS = 5.0
MAX_SOCKETS_PER_KEY, MAX_SOCKETS_PER_PROCESS = (
    50,
    2_000,
)  # sockets: screens on walls and in browsers; each may take a megabyte
RETRY_AFTER_SECONDS = 30.0  # that one is told to wait who is not let in


class KeyRevocationWatcher:
    """The sockets of one process. ``look`` is in seconds."""

    def __init__(
        self,
        database: Database,
        wall: WallClock,
        interval_seconds: float = CHECK_INTERVAL_SECONDS,
        max_per_key: int = MAX_SOCKETS_PER_KEY,
        max_per_process: int = MAX_SOCKETS_PER_PROCESS,
    ) -> None:
        self._database, self._wall = database, wall
        self._max_per_key, self._max_per_process = max_per_key, max_per_process
        self._close_callbacks: dict[str, list[Callable[[], None]]] = {}
        self._checking = PeriodicTask("look at the keys of sockets", interval_seconds, self.check)

    @contextmanager
    def register(self, key_id: str, on_revoked: Callable[[], None]) -> Iterator[None]:
        """A socket of the key's; ``end`` is called when the key is no good any more. Raises TooMany."""
        if len(self._close_callbacks.get(key_id, ())) >= self._max_per_key:
            raise RateLimited(
                f"The key has {self._max_per_key} sockets open, which is as many as it may.", RETRY_AFTER_SECONDS
            )
        if sum(map(len, self._close_callbacks.values())) >= self._max_per_process:
            raise RateLimited("There are too many sockets open here.", RETRY_AFTER_SECONDS)
        ends = self._close_callbacks.setdefault(key_id, [])
        ends.append(on_revoked)
        try:
            yield
        finally:
            ends.remove(on_revoked)
            if not ends:
                self._close_callbacks.pop(key_id, None)

    async def start(self) -> None:
        """Begin to look."""
        await self._checking.start()

    async def aclose(self) -> None:
        """End at once."""
        await self._checking.aclose()

    async def check(self) -> None:
        """End the sockets of keys that are no good any more. Raises StoreUnavailable."""
        if not self._close_callbacks:
            return
        asked = list(self._close_callbacks)
        good = await self._database.with_timeout(
            api_keys.filter_valid(self._database, asked, self._wall()), QUERY_TIMEOUT_SECONDS
        )
        for key in set(asked) - good:
            LOG.info("key %s is no good any more: its sockets end", key)
            for end in list(self._close_callbacks.get(key, ())):
                end()
