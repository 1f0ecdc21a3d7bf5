"""How much this process has to do, and whether a new call would get a good line.

It is full with ``capacity`` calls: those whose stream is open here, and those begun here whose stream is still to come.
It also takes no more while its event loop is late: then sound waits in line, however many calls there are. A timer
measures that; a single pause (a collection of garbage, a flow being compiled) is not lateness, so it has to last. Calls
that are in progress are never asked whether there is room.

Where several processes share a port or stand behind a balancer, a call begun here may get its stream elsewhere. So a
process may come to have some more calls than its capacity, as many as the spread of connections brings.
"""

import asyncio
import math
from collections import deque

from vocelio.gateway.config import CAPACITY

COMING_SECONDS = 5.0  # for a call's stream to come: Twilio connects within one; past it, another process has it
TICK = 0.05  # seconds between two measurements: 20 timers a second cost under 0.1% of a core
TICKS = 100  # measurements that are remembered: 5 s
RECENT = 20  # of these, the last second's
LATE = 0.1  # seconds: half a message of sound (200 ms), so that a caller who interrupts notices
LASTING = 3.0  # seconds of lateness until no call is taken, and of punctuality until one is taken again


class Load:
    """Runs from ``start`` to ``aclose``."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self.capacity = capacity
        self.late = False  # for seconds
        self._coming: dict[str, float] = {}  # by call, when it began; bounded by the capacity
        self._ticks: deque[float] = deque(maxlen=TICKS)
        self._steady = 0.0  # since when lateness is what ``late`` says
        self._due = 0.0
        self._timer: asyncio.TimerHandle | None = None

    async def start(self) -> None:
        """Begin to measure."""
        self._steady = asyncio.get_running_loop().time()
        self._wait()

    async def aclose(self) -> None:
        """End at once."""
        if self._timer:
            self._timer.cancel()

    @property
    def lag(self) -> float:
        """How late the event loop was at most in 99 of 100 measurements of the last 5 s, in seconds."""
        return sorted(self._ticks)[math.ceil(0.99 * len(self._ticks)) - 1] if self._ticks else 0.0

    def begins(self, call: str) -> None:
        """A call is being taken: its stream is to come."""
        self._coming.pop(call, None)
        self._coming[call] = asyncio.get_running_loop().time()

    def arrived(self, call: str) -> None:
        """The call's stream has come, or will not."""
        self._coming.pop(call, None)

    def full(self, live: int) -> bool:
        """Whether a new call had better go elsewhere, with so many live ones."""
        return self.late or live + self._still_coming() >= self.capacity

    def _still_coming(self) -> int:
        """In the order in which they began, so the oldest come first."""
        before = asyncio.get_running_loop().time() - COMING_SECONDS
        for call, began in list(self._coming.items()):
            if began > before:
                break
            del self._coming[call]
        return len(self._coming)

    def _wait(self) -> None:
        loop = asyncio.get_running_loop()
        self._due = loop.time() + TICK
        self._timer = loop.call_at(self._due, self._tick)

    def _tick(self) -> None:
        now = asyncio.get_running_loop().time()
        self._ticks.append(max(0.0, now - self._due))
        if (_median(list(self._ticks)[-RECENT:]) >= LATE) == self.late:
            self._steady = now
        elif now - self._steady >= LASTING:
            self.late, self._steady = not self.late, now
        self._wait()


def _median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]
