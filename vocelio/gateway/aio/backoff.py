"""Exponential backoff: how long to wait before the next attempt."""

from typing import NamedTuple

MAX_DOUBLINGS = 30  # more than any maximum in use needs; keeps the power small after millions of failures


class Backoff(NamedTuple):
    """Delays that double with each consecutive failure, from ``initial_seconds`` up to ``max_seconds``."""

    initial_seconds: float
    max_seconds: float

    def delay_seconds(self, failures: int) -> float:
        """Return the delay after this many consecutive failures; 0 when there was none."""
        if failures < 1:
            return 0.0
        return min(self.initial_seconds * 2.0 ** min(failures - 1, MAX_DOUBLINGS), self.max_seconds)
