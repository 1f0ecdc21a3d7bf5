"""Closes the sockets of revoked API keys: sockets stay open for hours, so the keys in use are checked all the time.

A revoked or expired key loses its sockets within seconds, in every process. While the database does not answer they
stay open, because they were opened with a valid key.
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
MAX_SOCKETS_PER_KEY, MAX_SOCKETS_PER_PROCESS = 50, 2_000  # wallboards and browsers; each may take a megabyte
RETRY_AFTER_SECONDS = 30.0  # told to a client that is rejected


class KeyRevocationWatcher:
    """The sockets of one process, by API key."""

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
        self._checking = PeriodicTask("check of the API keys of open sockets", interval_seconds, self.check)

    @contextmanager
    def register(self, key_id: str, on_revoked: Callable[[], None]) -> Iterator[None]:
        """Register a socket; ``on_revoked`` is called when its key becomes invalid. Raises TooManyRequests."""
        if len(self._close_callbacks.get(key_id, ())) >= self._max_per_key:
            raise RateLimited(f"The key has {self._max_per_key} open sockets, the maximum.", RETRY_AFTER_SECONDS)
        if sum(map(len, self._close_callbacks.values())) >= self._max_per_process:
            raise RateLimited("The process has the maximum of open sockets.", RETRY_AFTER_SECONDS)
        callbacks = self._close_callbacks.setdefault(key_id, [])
        callbacks.append(on_revoked)
        try:
            yield
        finally:
            callbacks.remove(on_revoked)
            if not callbacks:
                self._close_callbacks.pop(key_id, None)

    async def start(self) -> None:
        await self._checking.start()

    async def aclose(self) -> None:
        await self._checking.aclose()

    async def check(self) -> None:
        """Close the sockets of keys that are no longer valid. Raises DatabaseUnavailable."""
        if not self._close_callbacks:
            return
        key_ids = list(self._close_callbacks)
        valid = await self._database.with_timeout(
            api_keys.filter_valid(self._database, key_ids, self._wall()), QUERY_TIMEOUT_SECONDS
        )
        for key_id in set(key_ids) - valid:
            LOG.info("API key %s is no longer valid; closing its sockets", key_id)
            for on_revoked in list(self._close_callbacks.get(key_id, ())):
                on_revoked()
