"""What is kept of live calls: the ``Journal`` port.

Nothing here waits: a call says what is to be kept and goes on. What must be certain before the next thing is done
says so by a callback, which comes when it is committed.
"""

from collections.abc import Callable
from typing import Any, Protocol

import msgspec

from vocelio.engine.voice import Tier
from vocelio.gateway.events import Event


def nothing() -> None:
    """For those who need not know when."""


class Segment(msgspec.Struct, frozen=True):
    """Part of a call at one voice tier: ``billed`` microseconds at ``rate`` micro-USD a minute."""

    tier: Tier
    billed: int
    rate: int
    micro_usd: int


class SavedCall(msgspec.Struct, frozen=True, kw_only=True):
    """A call as it is kept. Instants are whole microseconds UTC, ``ended`` 0 while it goes on.

    ``revision`` counts what was saved of a call: a later one takes the place of an earlier. ``version`` is 0 when the
    call was turned away before a flow began. ``state`` is what another stream needs to go on; ``log`` is for replay.
    """

    tenant: str
    id: str
    account: str
    number: str
    caller: str
    flow: str
    version: int
    revision: int
    generation: int
    started: int
    ended: int = 0
    outcome: str = ""
    disposition: str = ""
    department: str = ""
    segments: tuple[Segment, ...] = ()
    state: dict[str, Any] | None = None
    log: bytes = b""

    @property
    def billed(self) -> int:
        """Microseconds."""
        return sum(segment.billed for segment in self.segments)

    @property
    def micro_usd(self) -> int:
        """What it costs the client so far."""
        return sum(segment.micro_usd for segment in self.segments)


class Journal(Protocol):
    """Where calls are kept."""

    def save(self, call: SavedCall, committed: Callable[[], None] = nothing) -> None:
        """Keep the call as it is now. ``committed`` is called once that is certain; never, if it never is."""

    def tell(self, event: Event, flow: str) -> None:
        """Keep an event of a call of that flow, which was saved before: its timeline."""

    async def start(self) -> None:
        """Begin."""

    async def aclose(self) -> None:
        """Until everything is kept, or cannot be."""
