"""How often somebody may ask: token buckets, in memory, of this process alone.

A bucket fills at a steady rate up to its brim, and each request takes one out. What is full need not be remembered, so
only those who ask often take room; past the bound the one that asked longest ago is forgotten, and starts full again.
"""

from collections import OrderedDict
from dataclasses import dataclass

from vocelio.gateway.clock import WallClock
from vocelio.gateway.errors import TooManyRequests

MAX_BUCKETS = 10_000  # buckets: a few hundred bytes each


class TokenBuckets:
    """Buckets by name: ``rate`` tokens a second, ``brim`` at most. Instants are microseconds."""

    def __init__(self, rate: float, burst: int, wall: WallClock) -> None:
        self._rate, self._burst, self._wall = rate, burst, wall
        self._buckets: OrderedDict[str, tuple[float, int]] = OrderedDict()  # name: (tokens, at)

    def acquire(self, name: str) -> None:
        """Take a token. Raises TooMany, which takes nothing."""
        now = self._wall()
        tokens, at = self._buckets.get(name, (float(self._burst), now))
        tokens = min(self._burst, tokens + max(0, now - at) / 1e6 * self._rate)  # the wall clock may be put back
        if tokens < 1:
            raise TooManyRequests(
                "There are too many requests. Wait a little, then go on more slowly.", (1 - tokens) / self._rate
            )
        self._buckets[name] = tokens - 1, now
        self._buckets.move_to_end(name)
        if len(self._buckets) > MAX_BUCKETS:
            self._buckets.popitem(last=False)


@dataclass(frozen=True)
class RateLimits:
    """What one may ask for: requests of one key, and tries of one address with keys that are no good."""

    requests_per_second: float = 50.0  # a second
    request_burst: int = 200
    failures_per_second: float = 1.0  # a second
    failure_burst: int = 20
