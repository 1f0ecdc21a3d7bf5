"""A site and a journal in memory: what the demo and spoken scenarios run on, and the tests of calls."""

from collections.abc import Callable, Iterable, Mapping

from vocelio.gateway.errors import NotFound
from vocelio.gateway.events import Event
from vocelio.gateway.store.journal import SavedCall, nothing
from vocelio.gateway.store.site import Assignment, Closed, Transfers


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

    def is_latest(self, event: Event) -> bool:
        """Whether the event's call goes on, and no later stream of it has begun."""
        call = self.calls.get(event.call)
        return call is not None and not call.ended and call.generation == event.generation

    async def start(self) -> None:
        """See Journal."""

    async def aclose(self) -> None:
        """See Journal."""


class MemorySite:
    """A site with a few numbers. ``secrets`` are (tenant, name): value; ``journal`` is where transfers are counted."""

    def __init__(
        self,
        assignments: Iterable[Assignment | Closed],
        secrets: Mapping[tuple[str, str], str] | None = None,
        journal: MemoryJournal | None = None,
    ) -> None:
        self._journal = journal
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

    async def transfers(self, tenant: str, since: int) -> Transfers:
        """See Site: those that the journal has."""
        journal = self._journal or MemoryJournal()
        begun = [event for event in journal.events if (event.tenant, event.type) == (tenant, "transfer.started")]
        going = [event for event in begun if journal.is_latest(event)]
        return Transfers(sum(event.at >= since for event in begun), len(going))

    async def owns(self, tenant: str, number: str) -> bool:
        """See Site."""
        match self._assignments.get(number):
            case Assignment() as found:
                return found.tenant.id == tenant
            case Closed() as closed:
                return closed.tenant == tenant
            case _:
                return False
