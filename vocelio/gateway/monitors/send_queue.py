"""Messages queued for one monitor, bounded in memory: a full queue is discarded for a gap and a new snapshot.

A snapshot is built part by part as the monitor reads it, so that one of ten thousand calls takes no more memory than
one of a hundred. Events of the meantime are queued behind it, and each part shows its calls as they are when it is
built. So a queued message may be older than the part: the monitor goes back to it and applies the rest again.

A monitor that does not read costs less than a megabyte: 300 kB are queued here; one message is being sent, a part of a
snapshot at most, which is 90 kB, and 360 kB as text; the server's buffer has 64 kB and another message, the kernel's
130 kB.
"""

import asyncio
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence

import msgspec

from vocelio.gateway.aio.bounded_queue import BoundedQueue
from vocelio.gateway.clock import WallClock, to_rfc3339
from vocelio.gateway.monitors.call_view import CallView, EventFilter, build_message

MAX_QUEUED_BYTES = 300_000  # bytes of memory
GAP_MESSAGE = '{"message":"gap"}'
MAX_PART_CALLS, MAX_PART_BYTES = 100, 60_000  # a part of a snapshot ends at the first of these limits
STR_OVERHEAD_BYTES = sys.getsizeof("😀")  # bytes of a text beside its characters


class Snapshot(msgspec.Struct, frozen=True, kw_only=True, tag_field="message", tag="snapshot"):
    """A part of a snapshot: the ``first`` one replaces the monitor's view, the ``last`` one completes it."""

    taken_at: str
    first: bool
    last: bool
    calls: list[msgspec.Raw]  # call views


class SendQueue:
    """The queue of one monitor. ``call_views`` gives the calls of a snapshot."""

    def __init__(
        self, event_filter: EventFilter, call_views: Callable[[], Sequence[CallView]], wall: WallClock
    ) -> None:
        self.event_filter = event_filter
        self.blocked_since: float | None = None  # since when the monitor does not keep up, by the loop's clock
        self._call_views, self._wall = call_views, wall
        self._messages: BoundedQueue[str] = BoundedQueue(MAX_QUEUED_BYTES, _memory_bytes)
        self._snapshot = self._snapshot_parts()
        self._gap_pending = False

    @property
    def queued_bytes(self) -> int:
        """Memory of the queued messages."""
        return self._messages.size

    def put(self, message: str) -> None:
        """Queue a message; if the queue is full, discard it all for a gap and a snapshot."""
        if not self._messages.fits(message):
            self.blocked_since = self.blocked_since or asyncio.get_running_loop().time()
            self.reset_with_gap()
        elif not self._gap_pending:
            self._messages.put(message)

    def reset_with_gap(self) -> None:
        """Discard the queue for a gap and a snapshot, because the monitor has missed something."""
        self._messages.clear()
        self._gap_pending = True
        self._messages.notify()

    async def get(self) -> str:
        """Wait for the next message."""
        while True:
            if self._gap_pending:
                self._gap_pending, self._snapshot = False, self._snapshot_parts()
                return GAP_MESSAGE
            if (part := next(self._snapshot, None)) is not None:
                return part
            if self._messages:
                return self._messages.popleft()
            self.blocked_since = None
            await self._messages.wait()

    def _snapshot_parts(self) -> Iterator[str]:
        views = deque(view for view in self._call_views() if self.event_filter.matches_call(view))
        first = True
        while first or views:
            taken_at = to_rfc3339(self._wall())
            calls, size = list[msgspec.Raw](), 0
            while views and len(calls) < MAX_PART_CALLS and size < MAX_PART_BYTES:
                calls.append(msgspec.Raw(msgspec.json.encode(build_message(views.popleft()))))
                size += len(calls[-1])
            yield msgspec.json.encode(Snapshot(taken_at=taken_at, first=first, last=not views, calls=calls)).decode()
            first = False


def _memory_bytes(message: str) -> int:
    """Return an upper bound of a text's memory.

    sys.getsizeof is no such bound: it may return more for the same text later, when Python keeps its UTF-8, too.
    """
    return STR_OVERHEAD_BYTES + len(message) * (1 if message.isascii() else 4)
