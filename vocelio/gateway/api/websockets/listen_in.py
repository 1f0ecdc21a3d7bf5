"""Listen-in: the audio queue of one listener, and a poller that notices the end of calls.

The queue holds a few seconds; a listener that reads too slowly gets the newest audio. The poller makes one query for
all listeners of the process.
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

MAX_QUEUED_CHUNKS = 50  # of a tenth of a second: 80 kB; the oldest are dropped
POLL_INTERVAL_SECONDS = 1.0
QUERY_TIMEOUT_SECONDS = 5.0


class AudioFormat(msgspec.Struct, frozen=True, tag_field="message", tag="format"):
    """The first message: the format of all binary messages after it. ``sample_rate`` is that of each channel, in Hz."""

    encoding: str = "audio/x-mulaw"
    sample_rate: int = 8_000
    channels: tuple[str, str] = ("caller", "gateway")


class AudioQueue:
    """Audio for one listener; ``blocked_since`` is the loop time since when it has been full, None if it is not."""

    def __init__(self) -> None:
        self.blocked_since: float | None = None
        self._format_sent = False
        self._chunks: BoundedQueue[bytes] = BoundedQueue(MAX_QUEUED_CHUNKS)

    def put(self, chunk: bytes) -> None:
        """Add a chunk. Never blocks."""
        if self._chunks.put(chunk) and self.blocked_since is None:
            self.blocked_since = asyncio.get_running_loop().time()

    async def get(self) -> str | bytes:
        """Wait for the next message to send."""
        if not self._format_sent:
            self._format_sent = True
            return msgspec.json.encode(AudioFormat()).decode()
        if not self._chunks:
            self.blocked_since = None
        return await self._chunks.get()


class CallEndPoller:
    """Polls the database for the end of calls, as long as any is watched."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._callbacks: dict[CallKey, list[Callable[[], None]]] = {}
        self._polling = PeriodicTask("poll for the end of calls with listeners", POLL_INTERVAL_SECONDS, self._poll)

    @asynccontextmanager
    async def watch(self, call: CallKey, on_end: Callable[[], None]) -> AsyncIterator[None]:
        """Call ``on_end`` when the call has ended, and again at each poll until the context is left."""
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
        watched = list(self._callbacks)
        rows = await self._database.with_timeout(live.get_many(self._database, watched), QUERY_TIMEOUT_SECONDS)
        for call in set(watched) - {row.key for row in rows if row.ended_at is None}:
            for on_end in self._callbacks.get(call, ()):
                on_end()
