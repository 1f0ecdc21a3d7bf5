"""Real-time clock of 20 ms ticks on an absolute schedule: a late tick does not delay the following ones.

Overdue ticks follow at once, so the clock does not drift; the event loop runs every few of them, so that catching up
cannot starve other tasks.
"""

import asyncio

from vocelio.gateway.simulator.media.messages import FRAME_SECONDS

MAX_OVERDUE_TICKS = 10
"""Overdue ticks before the event loop runs: 0.2 s of audio, well below a millisecond of work."""


class FrameClock:
    """Ticks since ``started_at`` on the running loop's clock; the first is due 20 ms after it."""

    def __init__(self, started_at: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._started_at = started_at
        self._ticks = 0
        self._overdue = 0

    async def tick(self) -> float:
        """Wait for the next tick; return the time at which it was due."""
        self._ticks += 1
        due = self._started_at + self._ticks * FRAME_SECONDS
        delay = due - self._loop.time()
        if delay > 0:
            self._overdue = 0
            await asyncio.sleep(delay)
        else:
            self._overdue += 1
            if self._overdue % MAX_OVERDUE_TICKS == 0:
                await asyncio.sleep(0)
        return due
