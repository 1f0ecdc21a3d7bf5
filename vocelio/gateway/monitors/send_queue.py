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

from vocelio.gateway.clock import WallClock
from vocelio.gateway.monitors.call_view import Picture
from vocelio.gateway.monitors.event_filter import Wanted

MAX_UNSENT = 300_000  # bytes of memory
GAP = '{"message":"gap"}'
PART, PART_BYTES = 100, 60_000  # calls of a snapshot's part, which is ended by what comes first
EMPTY = sys.getsizeof("😀")  # of a text beside its characters


class Snapshot(msgspec.Struct, frozen=True, kw_only=True, tag_field="message", tag="snapshot"):
    """A part of it: the ``first`` one replaces what was known, the ``last`` one completes it."""

    at: int
    first: bool
    last: bool
    calls: list[msgspec.Raw]  # pictures


class Outbox:
    """One monitor's. ``calls`` gives the pictures that a snapshot has, ``wall`` the time."""

    def __init__(self, wanted: Wanted, calls: Callable[[], Sequence[Picture]], wall: WallClock) -> None:
        self.wanted = wanted
        self.behind: float | None = None  # since when it does not keep up, by the loop's clock
        self._calls, self._wall = calls, wall
        self._unsent: deque[str] = deque()
        self._size = 0
        self._wakeup = asyncio.Event()
        self._snapshot = self._parts()
        self._lost = False

    def put(self, message: str) -> None:
        """Something to be sent. Too much of it, and all is thrown away: a snapshot says where things are then."""
        if self._size + _memory(message) > MAX_UNSENT:
            self.behind = self.behind or asyncio.get_running_loop().time()
            self.lose()
        elif not self._lost:
            self._size += _memory(message)
            self._unsent.append(message)
            self._wakeup.set()

    def lose(self) -> None:
        """Something did not reach the monitor: all that waits is thrown away for a gap and a snapshot."""
        self._unsent.clear()
        self._size = 0
        self._lost = True
        self._wakeup.set()

    async def take(self) -> str:
        """The next message, when there is one."""
        while True:
            if self._lost:
                self._lost, self._snapshot = False, self._parts()
                return GAP
            if (part := next(self._snapshot, None)) is not None:
                return part
            if self._unsent:
                message = self._unsent.popleft()
                self._size -= _memory(message)
                return message
            self.behind = None
            self._wakeup.clear()
            await self._wakeup.wait()

    def _parts(self) -> Iterator[str]:
        calls = deque(picture for picture in self._calls() if self.wanted.has(picture))
        first = True
        while first or calls:
            part, size = list[msgspec.Raw](), 0
            while calls and len(part) < PART and size < PART_BYTES:
                part.append(msgspec.Raw(msgspec.json.encode(calls.popleft())))
                size += len(part[-1])
            yield msgspec.json.encode(Snapshot(at=self._wall(), first=first, last=not calls, calls=part)).decode()
            first = False


def _memory(message: str) -> int:
    """Bytes, at most. sys.getsizeof may say more of the same text later: Python keeps it as UTF-8, too, if asked."""
    return EMPTY + len(message) * (1 if message.isascii() else 4)
