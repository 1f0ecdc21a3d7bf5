"""Time, injected: the one place that reads the wall clock.

Durations and timers use the event loop's own clock, so that a test's loop can make time pass at will.
"""

import time
from collections.abc import Callable

WallClock = Callable[[], int]
"""Whole microseconds since 1970, UTC."""


def wall_clock() -> int:
    """The machine's wall clock."""
    return time.time_ns() // 1_000
