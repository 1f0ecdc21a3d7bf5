"""What a monitor wants to see."""

import msgspec

from vocelio.gateway.events import Event
from vocelio.gateway.monitors.call_view import Picture


class Wanted(msgspec.Struct, frozen=True):
    """Calls that are all of what is given; of the events those ``types`` only, if there are any."""

    flow: str = ""
    number: str = ""
    call: str = ""
    types: frozenset[str] = frozenset()

    @property
    def everything(self) -> bool:
        """Whether it is all calls."""
        return not (self.flow or self.number or self.call)

    def has(self, picture: Picture) -> bool:
        """Whether the call is one of them."""
        return (
            self.flow in ("", picture.flow) and self.number in ("", picture.number) and self.call in ("", picture.call)
        )

    def has_event(self, event: Event, picture: Picture | None) -> bool:
        """Whether the event is one of them; ``picture`` is its call's, if it is one of a call."""
        if self.types and event.type not in self.types:
            return False
        if picture is not None:
            return self.has(picture)
        return not self.flow and not self.call and self.number in ("", event.data.get("number"))
