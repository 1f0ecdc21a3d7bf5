"""A site and a journal in memory: what the demo and spoken scenarios run on, and the tests of calls."""

from collections.abc import Callable, Iterable, Mapping

from vocelio.gateway.errors import NotFound
from vocelio.gateway.events import Event
from vocelio.gateway.store.journal import SavedCall, nothing
from vocelio.gateway.store.site import Assignment, Closed


class MemorySite:
    """A site with a few numbers. ``secrets`` are (tenant, name): value."""

    def __init__(
        self, assignments: Iterable[Assignment | Closed], secrets: Mapping[tuple[str, str], str] | None = None
    ) -> None:
        self._assignments = {assignment.number: assignment for assignment in assignments}
        self._secrets = secrets or {}

    async def assignment(self, number: str) -> Assignment | Closed | None:
        """See Site."""
        return self._assignments.get(number)

    async def secret(self, tenant: str, name: str) -> str:
        """See Site."""
        secret = self._secrets.get((tenant, name))
        if secret is None:
            raise NotFound
        return secret


class MemoryJournal:
    """Keeps everything while the process lives: for a few calls."""

    def __init__(self) -> None:
        self.calls: dict[str, SavedCall] = {}
        self.events: list[Event] = []

    def save(self, call: SavedCall, committed: Callable[[], None] = nothing) -> None:
        """See Journal: it is committed at once."""
        self.calls[call.id] = call
        committed()

    def tell(self, event: Event, flow: str) -> None:
        """See Journal."""
        self.events.append(event)

    async def start(self) -> None:
        """See Journal."""

    async def aclose(self) -> None:
        """See Journal."""
