"""What a call costs the client, by segments of time at one voice tier.

Billed is from the first stream's begin to the last one's end, with what passes between a stream that was lost and
the one that went on, and without transfers. The tier in force is that of the voice that spoke last; before anybody
has spoken, of the first one that will.
"""

from collections.abc import Mapping
from typing import Any

from vocelio.engine.voice import Tier
from vocelio.gateway.store.calls.interface import Segment

MICROSECONDS_A_MINUTE = 60_000_000


def cost(microseconds: int, rate: int) -> int:
    """Micro-USD for so long at that rate (micro-USD a minute), rounded half up once."""
    return (microseconds * rate + MICROSECONDS_A_MINUTE // 2) // MICROSECONDS_A_MINUTE


class Meter:
    """One call's. Instants are whole microseconds UTC; one before an earlier one (the clock was set back) adds nothing.

    ``held`` is what another meter of the same call had to say by ``state``.
    """

    def __init__(self, rates: Mapping[Tier, int], tier: Tier, held: Mapping[str, Any] | None = None) -> None:
        self._rates = rates
        state = held or {"spent": [[tier, 0]], "until": 0, "away": False, "silent": True}
        self._spent: list[tuple[Tier, int]] = [(kind, microseconds) for kind, microseconds in state["spent"]]
        self._until: int = state["until"]
        self._away: bool = state["away"]
        self._silent: bool = state.get("silent", False)  # nobody has spoken yet: the tier is only supposed

    def state(self) -> dict[str, Any]:
        """All of it, JSON-able."""
        return {"spent": self._spent, "until": self._until, "away": self._away, "silent": self._silent}

    def begin(self, now: int) -> None:
        """A stream begins: the call's first, or one that goes on with it."""
        if self._away or not self._until:
            self._until = max(now, self._until)
        self._away = False
        self.run(now)

    def run(self, now: int) -> None:
        """The call has gone on until now."""
        if self._until and not self._away and now > self._until:
            tier, microseconds = self._spent[-1]
            self._spent[-1] = (tier, microseconds + now - self._until)
            self._until = now

    def sound(self, now: int, tier: Tier) -> None:
        """A voice of that tier speaks: from now on it is in force; from the beginning, if it is the first."""
        self.run(now)
        if self._silent:
            self._silent, self._spent = False, [(tier, self._spent[-1][1])]
        elif tier != self._spent[-1][0]:
            self._spent.append((tier, 0))

    def leave(self) -> None:
        """A transfer begins: what follows is not billed, until a stream begins again."""
        self._away = True

    def stay(self) -> None:
        """The transfer was not begun: the call has gone on all the time."""
        self._away = False

    @property
    def segments(self) -> tuple[Segment, ...]:
        """What was billed, in order; there is at least one."""
        spent = [one for one in self._spent if one[1]] or self._spent[-1:]
        return tuple(Segment(tier, part, self._rates[tier], cost(part, self._rates[tier])) for tier, part in spent)

    @property
    def billed(self) -> int:
        """Microseconds."""
        return sum(microseconds for _, microseconds in self._spent)

    @property
    def micro_usd(self) -> int:
        """What it costs: the sum of its segments, each rounded on its own."""
        return sum(segment.micro_usd for segment in self.segments)
