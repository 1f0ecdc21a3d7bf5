"""What one monitor has still to be sent, bounded: whoever does not keep up gets a gap and a new snapshot instead.

A snapshot is made part by part, as the monitor takes it, so that one of ten thousand calls costs no more memory than
one of a hundred. What happens meanwhile waits behind it; each part shows its calls as they are when it is made.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Sequence

import msgspec

from vocelio.gateway.clock import WallClock
from vocelio.gateway.monitors.picture import Picture
from vocelio.gateway.monitors.wanted import Wanted

MAX_UNSENT = 400_000  # characters; with the server's own buffer and a snapshot's part less than a megabyte
GAP = '{"message":"gap"}'
PART = 100  # calls of a snapshot's part: some 60 kB


class Snapshot(msgspec.Struct, frozen=True, kw_only=True, tag_field="message", tag="snapshot"):
    """A part of it: the ``first`` one replaces what was known, the ``last`` one completes it."""

    at: int
    first: bool
    last: bool
    calls: list[Picture]


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
        if self._size + len(message) > MAX_UNSENT:
            self.behind = self.behind or asyncio.get_running_loop().time()
            self.lose()
        elif not self._lost:
            self._size += len(message)
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
                self._size -= len(message)
                return message
            self.behind = None
            self._wakeup.clear()
            await self._wakeup.wait()

    def _parts(self) -> Iterator[str]:
        calls = [picture for picture in self._calls() if self.wanted.has(picture)]
        for place in range(0, len(calls) or 1, PART):
            last = place + PART >= len(calls)
            part = Snapshot(at=self._wall(), first=not place, last=last, calls=calls[place : place + PART])
            yield msgspec.json.encode(part).decode()
