"""One thing that happened to a call; docs/events.md has the types."""

from typing import Any

import msgspec

TRANSIENT_TYPES = frozenset({"caller.speaking", "transcript.partial"})
"""Types that count for the moment only: they are in no timeline, and their ``sequence`` is that of the event before."""


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """``sequence`` counts within a call and generation; ``occurred_at`` is whole microseconds UTC."""

    tenant: str
    call: str
    generation: int
    sequence: int
    type: str
    occurred_at: int
    data: dict[str, Any] = {}

    @property
    def id(self) -> str:
        """Unique for ever."""
        return f"{self.call}-{self.generation}-{self.sequence}"
