"""Admission control: whether this process can carry another call without spoiling the audio of all.

A process is full with ``max_calls`` calls: those with a stream here, and those started here whose stream is to come. It
also accepts no new calls while its event loop lags, since audio is then late, however few calls there are. A timer
measures the lag; a single pause (garbage collection, a flow being compiled) does not count. Calls in progress are
always accepted.

Where several processes share a port or a load balancer, a call that started here may get its stream elsewhere. So a
process may carry a few more calls than its maximum.
"""

import asyncio
import math
from collections import deque

from vocelio.gateway.config import DEFAULT_CAPACITY

RESERVATION_SECONDS = 5.0  # for a stream to come: Twilio connects within one; past it, another process has it
TICK_SECONDS = 0.05  # between two measurements: 20 timers a second cost under 0.1% of a core
MAX_SAMPLES = 100  # 5 s
RECENT_SAMPLES = 20  # the last second
LAG_THRESHOLD_SECONDS = 0.1  # half a message of audio (200 ms): a caller who interrupts notices
LAG_CONFIRMATION_SECONDS = 3.0  # of lag until new calls are refused, and without lag until they are accepted again


class AdmissionControl:
    """Runs from ``start`` to ``aclose``."""

    def __init__(self, max_calls: int = DEFAULT_CAPACITY) -> None:
        self.max_calls = max_calls
        self.lagging = False  # confirmed
        self._reserved: dict[str, float] = {}  # loop time of each start by call; at most max_calls
        self._samples: deque[float] = deque(maxlen=MAX_SAMPLES)
        self._steady_since = 0.0  # since when the measurements agree with ``lagging``
        self._next_tick_at = 0.0
        self._timer: asyncio.TimerHandle | None = None

    async def start(self) -> None:
        self._steady_since = asyncio.get_running_loop().time()
        self._schedule_tick()

    async def aclose(self) -> None:
        if self._timer:
            self._timer.cancel()

    @property
    def lag_seconds(self) -> float:
        """Lag of the event loop: the 99th percentile of the last 5 s."""
        return sorted(self._samples)[math.ceil(0.99 * len(self._samples)) - 1] if self._samples else 0.0

    def reserve(self, call: str) -> None:
        """Count a call that is being started, until its stream comes."""
        self._reserved.pop(call, None)
        self._reserved[call] = asyncio.get_running_loop().time()

    def release(self, call: str) -> None:
        """The call's stream has come, or will not."""
        self._reserved.pop(call, None)

    def is_full(self, live_calls: int) -> bool:
        """Whether new calls must be refused, with that many live ones."""
        return self.lagging or live_calls + self._count_reserved() >= self.max_calls

    def _count_reserved(self) -> int:
        """Count the reservations, dropping expired ones; the oldest come first."""
        before = asyncio.get_running_loop().time() - RESERVATION_SECONDS
        for call, started_at in list(self._reserved.items()):
            if started_at > before:
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
