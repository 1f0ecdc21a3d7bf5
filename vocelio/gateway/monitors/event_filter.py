"""What a monitor wants to see."""

import msgspec

from vocelio.gateway.events import Event
from vocelio.gateway.monitors.call_view import CallView


class EventFilter(msgspec.Struct, frozen=True):
    """Calls that are all of what is given; of the events those ``types`` only, if there are any."""

    flow: str = ""
    number: str = ""
    call: str = ""
    types: frozenset[str] = frozenset()

    @property
    def is_unfiltered(self) -> bool:
        """Whether it is all calls."""
        return not (self.flow or self.number or self.call)

    def matches_call(self, view: CallView) -> bool:
        """Whether the call is one of them."""
        return self.flow in ("", view.flow) and self.number in ("", view.number) and self.call in ("", view.call)

    def matches_event(self, event: Event, view: CallView | None) -> bool:
        """Whether the event is one of them; ``picture`` is its call's, if it is one of a call."""
        if self.types and event.type not in self.types:
            return False
        if view is not None:
            return self.matches_call(view)
        return not self.flow and not self.call and self.number in ("", event.data.get("number"))
