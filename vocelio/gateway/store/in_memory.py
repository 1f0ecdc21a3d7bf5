"""A site and a journal in memory: what the demo and spoken scenarios run on, and the tests of calls."""

from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec

from vocelio.gateway.errors import NotFound
from vocelio.gateway.events import Event
from vocelio.gateway.model.directory import CallConfig, NumberClosed, TransferCounts
from vocelio.gateway.store.calls.interface import StatusReport, StoredCall, noop


class InMemoryCallStore:
    """Keeps everything while the process lives: for a few calls."""

    def __init__(self) -> None:
        self.calls: dict[str, StoredCall] = {}
        self.events: list[Event] = []
        self.logs: dict[str, bytes] = {}

    def save(
        self, call: StoredCall, on_committed: Callable[[], None] = noop, on_superseded: Callable[[], None] = noop
    ) -> None:
        """See Journal: it is committed at once."""
        before = self.calls.get(call.id)
        if before and (before.generation, before.revision) > (call.generation, call.revision):
            on_superseded()
            return
        self.logs[call.id] = self.logs.get(call.id, b"") + call.log
        self.calls[call.id] = msgspec.structs.replace(call, resume_state=msgspec.to_builtins(call.resume_state))
        on_committed()

    def append_event(self, event: Event, flow: str) -> None:
        """See Journal."""
        self.events.append(event)

    async def find(self, call: str, account_sid: str) -> StoredCall | None:
        """See Journal."""
        found = self.calls.get(call)
        return self._as_stored(found) if found and found.account_sid == account_sid else None

    async def take_over(
        self, tenant: str, call: str, account_sid: str, generation: int, due_at: int
    ) -> StoredCall | None:
        """See Journal."""
        found = self.calls.get(call)
        if found is None or (found.tenant, found.account_sid, found.generation) != (tenant, account_sid, generation):
            return None
        if found.is_over:
            return None
        raised = {"generation": generation + 1, "due_at": due_at, "status_report": "", "ended_at": 0, "outcome": ""}
        self.calls[call] = msgspec.structs.replace(found, **raised)
        return self._as_stored(self.calls[call])

    async def claim(self, stored: StoredCall) -> bool:
        """See Journal."""
        found = self.calls[stored.id]
        if found.is_over or (found.generation, found.revision) != (stored.generation, stored.revision):
            return False
        self.calls[stored.id] = msgspec.structs.replace(found, revision=found.revision + 1)
        return True

    async def close(self, stored: StoredCall, ended_at: int, outcome: str) -> StoredCall | None:
        """See Journal."""
        if not await self.claim(stored):
            return None
        over = {"ended_at": ended_at, "outcome": outcome, "resume_state": None}
        self.calls[stored.id] = msgspec.structs.replace(self.calls[stored.id], **over)
        return self.calls[stored.id]

    async def record_status(
        self, account_sid: str, call: str, status: StatusReport, due_at: int, generation: int | None = None
    ) -> None:
        """See Journal."""
        found = await self.find(call, account_sid)
        if found and not found.ended_at and generation in (None, found.generation):
            status = status if status == "redirected" else found.status_report or status
            self.calls[call] = msgspec.structs.replace(found, due_at=min(found.due_at, due_at), status_report=status)

    async def find_expired(self, now: int, limit: int) -> Sequence[StoredCall]:
        """See Journal."""
        due = [self._as_stored(call) for call in self.calls.values() if not call.ended_at and call.due_at < now]
        return sorted(due, key=lambda call: call.due_at)[:limit]

    async def purge_state(self, before: int) -> None:
        """See Journal."""
        for call in self.calls.values():
            if call.ended_at and call.ended_at < before:
                self.calls[call.id] = msgspec.structs.replace(call, resume_state=None)

    async def count_live(self, tenant: str) -> int:
        """See Journal."""
        return sum(call.tenant == tenant and not call.ended_at for call in self.calls.values())

    def _as_stored(self, call: StoredCall) -> StoredCall:
        mine = (event.seq for event in self.events if (event.call, event.generation) == (call.id, call.generation))
        return msgspec.structs.replace(call, last_event_seq=max(mine, default=0), log=b"")

    def is_live_generation(self, event: Event) -> bool:
        """Whether the event's call goes on, and no later stream of it has begun."""
        call = self.calls.get(event.call)
        return call is not None and not call.ended_at and call.generation == event.generation

    async def start(self) -> None:
        """See Journal."""

    async def aclose(self) -> None:
        """See Journal."""


class InMemoryDirectory:
    """A site with a few numbers. ``secrets`` are (tenant, name): value; ``journal`` is where transfers are counted."""

    def __init__(
        self,
        configs: Iterable[CallConfig | NumberClosed],
        secrets: Mapping[tuple[str, str], str] | None = None,
        call_store: InMemoryCallStore | None = None,
    ) -> None:
        self._call_store = call_store
        self._configs = {assignment.number: assignment for assignment in configs}
        self._secrets = secrets or {}

    async def get_call_config(self, number: str) -> CallConfig | NumberClosed | None:
        """See Site."""
        return self._configs.get(number)

    async def get_secret(self, tenant: str, name: str) -> str:
        """See Site."""
        secret = self._secrets.get((tenant, name))
        if secret is None:
            raise NotFound
        return secret

    def get_last_known(self, number: str) -> NumberClosed | None:
        """See Site."""
        return None

    async def get_resume_config(
        self, tenant: str, number: str, flow: str, version: int, started_at: int
    ) -> CallConfig | None:
        """See Site: here nothing ever changes."""
        found = self._configs.get(number)
        return found if isinstance(found, CallConfig) else None

    async def count_transfers(self, tenant: str, since: int) -> TransferCounts:
        """See Site: those that the journal has."""
        journal = self._call_store or InMemoryCallStore()
        begun = [event for event in journal.events if (event.tenant, event.type) == (tenant, "transfer.started")]
        going = [event for event in begun if journal.is_live_generation(event)]
        return TransferCounts(sum(event.at >= since for event in begun), len(going))

    async def is_tenant_number(self, tenant: str, number: str) -> bool:
        """See Site."""
        match self._configs.get(number):
            case CallConfig() as found:
                return found.tenant.id == tenant
            case NumberClosed() as closed:
                return closed.tenant == tenant
            case _:
                return False
