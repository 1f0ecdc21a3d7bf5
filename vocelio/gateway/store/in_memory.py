"""A site and a journal in memory: what the demo and spoken scenarios run on, and the tests of calls."""

from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec

from vocelio.gateway.errors import NotFound
from vocelio.gateway.events import Event
from vocelio.gateway.model.directory import Assignment, Closed, Transfers
from vocelio.gateway.store.calls.interface import SavedCall, Told, nothing


class MemoryJournal:
    """Keeps everything while the process lives: for a few calls."""

    def __init__(self) -> None:
        self.calls: dict[str, SavedCall] = {}
        self.events: list[Event] = []
        self.logs: dict[str, bytes] = {}

    def save(
        self, call: SavedCall, committed: Callable[[], None] = nothing, overtaken: Callable[[], None] = nothing
    ) -> None:
        """See Journal: it is committed at once."""
        before = self.calls.get(call.id)
        if before and (before.generation, before.revision) > (call.generation, call.revision):
            overtaken()
            return
        self.logs[call.id] = self.logs.get(call.id, b"") + call.log
        self.calls[call.id] = msgspec.structs.replace(call, state=msgspec.to_builtins(call.state))
        committed()

    def tell(self, event: Event, flow: str) -> None:
        """See Journal."""
        self.events.append(event)

    async def find(self, call: str, account: str) -> SavedCall | None:
        """See Journal."""
        found = self.calls.get(call)
        return self._found(found) if found and found.account == account else None

    async def take_over(self, tenant: str, call: str, account: str, generation: int, due: int) -> SavedCall | None:
        """See Journal."""
        found = self.calls.get(call)
        if found is None or (found.tenant, found.account, found.generation) != (tenant, account, generation):
            return None
        if found.over:
            return None
        raised = {"generation": generation + 1, "due": due, "told": "", "ended": 0, "outcome": ""}
        self.calls[call] = msgspec.structs.replace(found, **raised)
        return self._found(self.calls[call])

    async def claim(self, kept: SavedCall) -> bool:
        """See Journal."""
        found = self.calls[kept.id]
        if found.over or (found.generation, found.revision) != (kept.generation, kept.revision):
            return False
        self.calls[kept.id] = msgspec.structs.replace(found, revision=found.revision + 1)
        return True

    async def finish(self, kept: SavedCall, ended: int, outcome: str) -> SavedCall | None:
        """See Journal."""
        if not await self.claim(kept):
            return None
        over = {"ended": ended, "outcome": outcome, "state": None}
        self.calls[kept.id] = msgspec.structs.replace(self.calls[kept.id], **over)
        return self.calls[kept.id]

    async def hear(self, account: str, call: str, told: Told, due: int, generation: int | None = None) -> None:
        """See Journal."""
        found = await self.find(call, account)
        if found and not found.ended and generation in (None, found.generation):
            told = told if told == "given_up" else found.told or told
            self.calls[call] = msgspec.structs.replace(found, due=min(found.due, due), told=told)

    async def overdue(self, now: int, limit: int) -> Sequence[SavedCall]:
        """See Journal."""
        due = [self._found(call) for call in self.calls.values() if not call.ended and call.due < now]
        return sorted(due, key=lambda call: call.due)[:limit]

    async def forget(self, before: int) -> None:
        """See Journal."""
        for call in self.calls.values():
            if call.ended and call.ended < before:
                self.calls[call.id] = msgspec.structs.replace(call, state=None)

    async def count(self, tenant: str) -> int:
        """See Journal."""
        return sum(call.tenant == tenant and not call.ended for call in self.calls.values())

    def _found(self, call: SavedCall) -> SavedCall:
        mine = (event.seq for event in self.events if (event.call, event.generation) == (call.id, call.generation))
        return msgspec.structs.replace(call, sequence=max(mine, default=0), log=b"")

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

    def remembered(self, number: str) -> Closed | None:
        """See Site."""
        return None

    async def pinned(self, tenant: str, number: str, flow: str, version: int, started: int) -> Assignment | None:
        """See Site: here nothing ever changes."""
        found = self._assignments.get(number)
        return found if isinstance(found, Assignment) else None

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
