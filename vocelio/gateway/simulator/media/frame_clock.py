"""20 ms ticks at real time, by an absolute schedule: being late once delays nothing that comes after.

Ticks that are overdue follow at once, so the line's clock stays true; now and then the loop gets its turn between
them, so that catching up cannot starve the rest of the program.
"""

import asyncio

from vocelio.gateway.simulator.media.messages import FRAME_SECONDS

MAX_OVERDUE_TICKS = 10
"""Overdue ticks in a row: 0.2 s of audio, well below a millisecond of work."""


class FrameClock:
    """Ticks since ``start`` on the running loop's clock; the first comes 20 ms after it."""

    def __init__(self, started_at: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._started_at = started_at
        self._ticks = 0
        self._overdue = 0

    async def tick(self) -> float:
        """Wait for the next tick; returns when it was due."""
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
