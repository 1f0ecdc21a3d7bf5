"""The wall clock: the only module that reads it.

Durations and timers use the event loop's clock, so that tests can run in virtual time.
"""

import time
from collections.abc import Callable

WallClock = Callable[[], int]
"""Whole microseconds since 1970-01-01 UTC."""


def wall_clock() -> int:
    """Read the machine's wall clock."""
    return time.time_ns() // 1_000
