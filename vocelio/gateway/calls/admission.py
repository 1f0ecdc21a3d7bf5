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

from vocelio.gateway.config import DEFAULT_CAPACITY

RESERVATION_SECONDS = 5.0  # for a call's stream to come: Twilio connects within one; past it, another process has it
TICK_SECONDS = 0.05  # seconds between two measurements: 20 timers a second cost under 0.1% of a core
MAX_SAMPLES = 100  # measurements that are remembered: 5 s
RECENT_SAMPLES = 20  # of these, the last second's
LAG_THRESHOLD_SECONDS = 0.1  # seconds: half a message of sound (200 ms), so that a caller who interrupts notices
LAG_CONFIRMATION_SECONDS = (
    3.0  # seconds of lateness until no call is taken, and of punctuality until one is taken again
)


class AdmissionControl:
    """Runs from ``start`` to ``aclose``."""

    def __init__(self, max_calls: int = DEFAULT_CAPACITY) -> None:
        self.max_calls = max_calls
        self.lagging = False  # for seconds
        self._reserved: dict[str, float] = {}  # by call, when it began; bounded by the capacity
        self._samples: deque[float] = deque(maxlen=MAX_SAMPLES)
        self._steady_since = 0.0  # since when lateness is what ``late`` says
        self._next_tick_at = 0.0
        self._timer: asyncio.TimerHandle | None = None

    async def start(self) -> None:
        """Begin to measure."""
        self._steady_since = asyncio.get_running_loop().time()
        self._schedule_tick()

    async def aclose(self) -> None:
        """End at once."""
        if self._timer:
            self._timer.cancel()

    @property
    def lag_seconds(self) -> float:
        """How late the event loop was at most in 99 of 100 measurements of the last 5 s, in seconds."""
        return sorted(self._samples)[math.ceil(0.99 * len(self._samples)) - 1] if self._samples else 0.0

    def reserve(self, call: str) -> None:
        """A call is being taken: its stream is to come."""
        self._reserved.pop(call, None)
        self._reserved[call] = asyncio.get_running_loop().time()

    def release(self, call: str) -> None:
        """The call's stream has come, or will not."""
        self._reserved.pop(call, None)

    def is_full(self, live_calls: int) -> bool:
        """Whether a new call had better go elsewhere, with so many live ones."""
        return self.lagging or live_calls + self._count_reserved() >= self.max_calls

    def _count_reserved(self) -> int:
        """In the order in which they began, so the oldest come first."""
        before = asyncio.get_running_loop().time() - RESERVATION_SECONDS
        for call, began in list(self._reserved.items()):
            if began > before:
                break
            del self._reserved[call]
        return len(self._reserved)

    def _schedule_tick(self) -> None:
        loop = asyncio.get_running_loop()
        self._next_tick_at = loop.time() + TICK_SECONDS
        self._timer = loop.call_at(self._next_tick_at, self._tick)

    def _tick(self) -> None:
        now = asyncio.get_running_loop().time()
        self._samples.append(max(0.0, now - self._next_tick_at))
        if (_median(list(self._samples)[-RECENT_SAMPLES:]) >= LAG_THRESHOLD_SECONDS) == self.lagging:
            self._steady_since = now
        elif now - self._steady_since >= LAG_CONFIRMATION_SECONDS:
            self.lagging, self._steady_since = not self.lagging, now
        self._schedule_tick()


def _median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]
