"""How often somebody may ask: token buckets, in memory, of this process alone.

A bucket fills at a steady rate up to its brim, and each request takes one out. What is full need not be remembered, so
only those who ask often take room; past the bound the one that asked longest ago is forgotten, and starts full again.
"""

from collections import OrderedDict
from dataclasses import dataclass

from vocelio.gateway.clock import WallClock
from vocelio.gateway.errors import TooMany

REMEMBERED = 10_000  # buckets: a few hundred bytes each


class Buckets:
    """Buckets by name: ``rate`` tokens a second, ``brim`` at most. Instants are microseconds."""

    def __init__(self, rate: float, brim: int, wall: WallClock) -> None:
        self._rate, self._brim, self._wall = rate, brim, wall
        self._left: OrderedDict[str, tuple[float, int]] = OrderedDict()  # name: (tokens, at)

    def take(self, name: str) -> None:
        """Take a token. Raises TooMany, which takes nothing."""
        now = self._wall()
        tokens, at = self._left.get(name, (float(self._brim), now))
        tokens = min(self._brim, tokens + max(0, now - at) / 1e6 * self._rate)  # the wall clock may be put back
        if tokens < 1:
            raise TooMany(
                "There are too many requests. Wait a little, then go on more slowly.", (1 - tokens) / self._rate
            )
        self._left[name] = tokens - 1, now
        self._left.move_to_end(name)
        if len(self._left) > REMEMBERED:
            self._left.popitem(last=False)


@dataclass(frozen=True)
class Limits:
    """What one may ask for: requests of one key, and tries of one address with keys that are no good."""

    requests: float = 50.0  # a second
    at_once: int = 200
    failures: float = 1.0  # a second
    failures_at_once: int = 20
