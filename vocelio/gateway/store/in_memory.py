"""In-memory call store and directory: for the demo, spoken scenarios and the tests of calls."""

from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec

from vocelio.gateway.errors import NotFound
from vocelio.gateway.events import Event
from vocelio.gateway.model.directory import CallConfig, NumberClosed, TransferCounts
from vocelio.gateway.store.calls.interface import StatusReport, StoredCall, noop


class InMemoryCallStore:
    """A CallStore for few calls: it keeps everything until the process ends, and commits at once."""

    def __init__(self) -> None:
        self.calls: dict[str, StoredCall] = {}
        self.events: list[Event] = []
        self.logs: dict[str, bytes] = {}

    def save(
        self, call: StoredCall, on_committed: Callable[[], None] = noop, on_superseded: Callable[[], None] = noop
    ) -> None:
        current = self.calls.get(call.id)
        if current and (current.generation, current.revision) > (call.generation, call.revision):
            on_superseded()
            return
        self.logs[call.id] = self.logs.get(call.id, b"") + call.log
        self.calls[call.id] = msgspec.structs.replace(call)
        on_committed()

    def append_event(self, event: Event, flow: str) -> None:
        self.events.append(event)

    async def find(self, call: str, account_sid: str) -> StoredCall | None:
        stored = self.calls.get(call)
        return self._loaded(stored) if stored and stored.account_sid == account_sid else None

    async def take_over(
        self, tenant: str, call: str, account_sid: str, generation: int, due_at: int
    ) -> StoredCall | None:
        stored = self.calls.get(call)
        if stored is None or (stored.tenant, stored.account_sid, stored.generation) != (
            tenant,
            account_sid,
            generation,
        ):
            return None
        if stored.is_over:
            return None
        owned = {"generation": generation + 1, "due_at": due_at, "status_report": "", "ended_at": 0, "outcome": ""}
        self.calls[call] = msgspec.structs.replace(stored, **owned)
        return self._loaded(self.calls[call])

    async def claim(self, stored: StoredCall) -> bool:
        current = self.calls[stored.id]
        if current.is_over or (current.generation, current.revision) != (stored.generation, stored.revision):
            return False
        self.calls[stored.id] = msgspec.structs.replace(current, revision=current.revision + 1)
        return True

    async def close(self, stored: StoredCall, ended_at: int, outcome: str) -> StoredCall | None:
        if not await self.claim(stored):
            return None
        kept_state = stored.resume_state if outcome == "lost" else None
        over = {"ended_at": ended_at, "outcome": outcome, "resume_state": kept_state}
        self.calls[stored.id] = msgspec.structs.replace(self.calls[stored.id], **over)
        return msgspec.structs.replace(self.calls[stored.id])

    async def record_status(
        self, account_sid: str, call: str, status: StatusReport, due_at: int, generation: int | None = None
    ) -> None:
        stored = await self.find(call, account_sid)
        if stored and not stored.ended_at and generation in (None, stored.generation):
            status = status if status == "redirected" else stored.status_report or status
            self.calls[call] = msgspec.structs.replace(stored, due_at=min(stored.due_at, due_at), status_report=status)

    async def find_expired(self, now: int, limit: int, unreadable_before: int) -> Sequence[StoredCall]:
        expired = (call for call in self.calls.values() if not call.ended_at and call.due_at < now)
        due = [self._loaded(call) for call in expired if call.is_readable or call.due_at < unreadable_before]
        return sorted(due, key=lambda call: call.due_at)[:limit]

    async def purge_state(self, before: int) -> None:
        for call in self.calls.values():
            if call.ended_at and call.ended_at < before:
                self.calls[call.id] = msgspec.structs.replace(call, resume_state=None)

    async def count_live(self, tenant: str, due_after: int) -> int:
        return sum(
            call.tenant == tenant and not call.ended_at and call.due_at > due_after for call in self.calls.values()
        )

    def is_live_generation(self, event: Event) -> bool:
        """Whether the event's call has not ended, and no later stream of it has started."""
        call = self.calls.get(event.call)
        return call is not None and not call.ended_at and call.generation == event.generation

    async def start(self) -> None:
        pass

    async def aclose(self) -> None:
        pass

    def _loaded(self, call: StoredCall) -> StoredCall:
        own = (event.sequence for event in self.events if (event.call, event.generation) == (call.id, call.generation))
        return msgspec.structs.replace(call, last_event_seq=max(own, default=0), log=b"")


class InMemoryDirectory:
    """A Directory of fixed numbers. ``secrets`` maps (tenant, name) to a value; transfers are counted in the store."""

    def __init__(
        self,
        configs: Iterable[CallConfig | NumberClosed],
        secrets: Mapping[tuple[str, str], str] | None = None,
        call_store: InMemoryCallStore | None = None,
    ) -> None:
        self._call_store = call_store
        self._configs = {config.number: config for config in configs}
        self._secrets = secrets or {}

    async def get_call_config(self, number: str) -> CallConfig | NumberClosed | None:
        return self._configs.get(number)

    async def get_secret(self, tenant: str, name: str) -> str:
        secret = self._secrets.get((tenant, name))
        if secret is None:
            raise NotFound
        return secret

    def get_last_known(self, number: str) -> NumberClosed | None:
        return None

    async def get_resume_config(
        self, tenant: str, number: str, flow: str, version: int, started_at: int
    ) -> CallConfig | None:
        config = self._configs.get(number)
        return config if isinstance(config, CallConfig) else None

    async def count_transfers(self, tenant: str, since: int) -> TransferCounts:
        call_store = self._call_store or InMemoryCallStore()
        started = [event for event in call_store.events if (event.tenant, event.type) == (tenant, "transfer.started")]
        active = [event for event in started if call_store.is_live_generation(event)]
        return TransferCounts(sum(event.occurred_at >= since for event in started), len(active))

    async def is_tenant_number(self, tenant: str, number: str, account_sid: str) -> bool:
        match self._configs.get(number):
            case CallConfig() as config:
                return (config.tenant.id, config.account_sid) == (tenant, account_sid)
            case NumberClosed() as closed:
                return (closed.tenant, closed.account_sid) == (tenant, account_sid)
            case _:
                return False
