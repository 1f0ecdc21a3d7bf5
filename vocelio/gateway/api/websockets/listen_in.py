"""The sound that is on its way to somebody who listens in: a few seconds, and whoever is slower hears the newest.

When calls that are listened to are over: one look into the store for all of a process, however many listen.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import msgspec

from vocelio.gateway.aio.bounded_queue import BoundedQueue
from vocelio.gateway.aio.tasks import PeriodicTask
from vocelio.gateway.store.calls import live
from vocelio.gateway.store.calls.live import CallKey
from vocelio.gateway.store.db.database import Database

MAX_QUEUED_CHUNKS = 50  # tenths of a second: 80 kB; past them the oldest are dropped


class AudioFormat(msgspec.Struct, frozen=True, tag_field="message", tag="format"):
    """The first message: what every binary message behind it is. ``rate`` is in samples a second of each side."""

    encoding: str = "audio/x-mulaw"
    rate: int = 8_000
    channels: tuple[str, str] = ("caller", "gateway")


class AudioQueue:
    """One listener's."""

    def __init__(self) -> None:
        self.blocked_since: float | None = None  # since when it does not keep up, by the loop's clock
        self._format_sent = False
        self._chunks: BoundedQueue[bytes] = BoundedQueue(MAX_QUEUED_CHUNKS)

    def put(self, chunk: bytes) -> None:
        """The next piece. Never waits."""
        if self._chunks.put(chunk) and self.blocked_since is None:
            self.blocked_since = asyncio.get_running_loop().time()

    async def get(self) -> str | bytes:
        """What is to be sent next, when there is something."""
        if not self._format_sent:
            self._format_sent = True
            return msgspec.json.encode(AudioFormat()).decode()
        if not self._chunks:
            self.blocked_since = None
        return await self._chunks.get()


POLL_INTERVAL_SECONDS = 1.0
QUERY_TIMEOUT_SECONDS = 5.0


class CallEndPoller:
    """Looks while somebody waits for an ending."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._callbacks: dict[CallKey, list[Callable[[], None]]] = {}
        self._polling = PeriodicTask(
            "look for the end of calls that are listened to", POLL_INTERVAL_SECONDS, self._poll
        )

    @asynccontextmanager
    async def watch(self, call: CallKey, on_end: Callable[[], None]) -> AsyncIterator[None]:
        """``over`` is called when the call does not go on, and again until this is left."""
        if not self._callbacks:
            await self._polling.start()
        self._callbacks.setdefault(call, []).append(on_end)
        try:
            yield
        finally:
            self._callbacks[call].remove(on_end)
            if not self._callbacks[call]:
                del self._callbacks[call]
            if not self._callbacks:
                await self._polling.aclose()

    async def _poll(self) -> None:
        asked = list(self._callbacks)
        found = await self._database.with_timeout(live.get_many(self._database, asked), QUERY_TIMEOUT_SECONDS)
        for call in set(asked) - {one.key for one in found if one.ended_at is None}:
            for over in self._callbacks.get(call, ()):
                over()
