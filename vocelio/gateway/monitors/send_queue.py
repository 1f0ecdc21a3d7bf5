"""What one monitor has still to be sent, bounded: whoever does not keep up gets a gap and a new snapshot instead.

A snapshot is made part by part, as the monitor takes it, so that one of ten thousand calls costs no more memory than
one of a hundred. What happens meanwhile waits behind it; each part shows its calls as they are when it is made. So what
waits may be older than the part: the monitor goes back to it, and then through all that came in between once more.

A monitor that does not read costs less than a megabyte: 300 kB wait here; one message is on its way, a snapshot's part
at most, which is 90 kB and 360 kB as a text; the server's buffer has 64 kB and another message, the kernel's 130 kB.
"""

import asyncio
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence

import msgspec

from vocelio.gateway.clock import WallClock, to_rfc3339
from vocelio.gateway.monitors.call_view import CallView, build_message
from vocelio.gateway.monitors.event_filter import EventFilter

MAX_QUEUED_BYTES = 300_000  # bytes of memory
GAP_MESSAGE = '{"message":"gap"}'
MAX_PART_CALLS, MAX_PART_BYTES = 100, 60_000  # calls of a snapshot's part, which is ended by what comes first
STR_OVERHEAD_BYTES = sys.getsizeof("😀")  # of a text beside its characters


class Snapshot(msgspec.Struct, frozen=True, kw_only=True, tag_field="message", tag="snapshot"):
    """A part of it: the ``first`` one replaces what was known, the ``last`` one completes it."""

    taken_at: str
    first: bool
    last: bool
    calls: list[msgspec.Raw]  # pictures


class SendQueue:
    """One monitor's. ``calls`` gives the pictures that a snapshot has, ``wall`` the time."""

    def __init__(
        self, event_filter: EventFilter, call_views: Callable[[], Sequence[CallView]], wall: WallClock
    ) -> None:
        self.event_filter = event_filter
        self.blocked_since: float | None = None  # since when it does not keep up, by the loop's clock
        self._call_views, self._wall = call_views, wall
        self._messages: deque[str] = deque()
        self._queued_bytes = 0
        self._wakeup = asyncio.Event()
        self._snapshot = self._snapshot_parts()
        self._gap_pending = False

    def put(self, message: str) -> None:
        """Something to be sent. Too much of it, and all is thrown away: a snapshot says where things are then."""
        if self._queued_bytes + _memory_bytes(message) > MAX_QUEUED_BYTES:
            self.blocked_since = self.blocked_since or asyncio.get_running_loop().time()
            self.reset_with_gap()
        elif not self._gap_pending:
            self._queued_bytes += _memory_bytes(message)
            self._messages.append(message)
            self._wakeup.set()

    def reset_with_gap(self) -> None:
        """Something did not reach the monitor: all that waits is thrown away for a gap and a snapshot."""
        self._messages.clear()
        self._queued_bytes = 0
        self._gap_pending = True
        self._wakeup.set()

    async def get(self) -> str:
        """The next message, when there is one."""
        while True:
            if self._gap_pending:
                self._gap_pending, self._snapshot = False, self._snapshot_parts()
                return GAP_MESSAGE
            if (part := next(self._snapshot, None)) is not None:
                return part
            if self._messages:
                message = self._messages.popleft()
                self._queued_bytes -= _memory_bytes(message)
                return message
            self.blocked_since = None
            self._wakeup.clear()
            await self._wakeup.wait()

    def _snapshot_parts(self) -> Iterator[str]:
        calls = deque(picture for picture in self._call_views() if self.event_filter.matches_call(picture))
        first = True
        while first or calls:
            taken_at = to_rfc3339(self._wall())
            part, size = list[msgspec.Raw](), 0
            while calls and len(part) < MAX_PART_CALLS and size < MAX_PART_BYTES:
                part.append(msgspec.Raw(msgspec.json.encode(build_message(calls.popleft()))))
                size += len(part[-1])
            yield msgspec.json.encode(Snapshot(taken_at=taken_at, first=first, last=not calls, calls=part)).decode()
            first = False


def _memory_bytes(message: str) -> int:
    """Bytes, at most. sys.getsizeof may say more of the same text later: Python keeps it as UTF-8, too, if asked."""
    return STR_OVERHEAD_BYTES + len(message) * (1 if message.isascii() else 4)
