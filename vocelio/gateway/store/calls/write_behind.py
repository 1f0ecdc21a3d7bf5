"""The journal that writes to the database: many calls in one commit.

What calls want kept is committed at most fifty times a second, so under load many calls share a commit. A call
that is saved again meanwhile is written once, as it is last. When the database does not answer, everything stays here
and is tried again until it does; written twice it is still counted once, since every row has its own key and a call's
later revision replaces an earlier one. What grows without bound in such a time is the timelines, so of these only the
newest are held; calls, their ends and their costs are all held: new calls are not taken meanwhile, so they are few.
"""

import asyncio
import logging
import zlib
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import Table, and_, or_
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from vocelio.gateway.crypto.encryption import SecretCipher
from vocelio.gateway.errors import DatabaseUnavailable
from vocelio.gateway.events import Event
from vocelio.gateway.store.audit.actor import dump_json
from vocelio.gateway.store.calls.interface import StatusReport, StoredCall, noop
from vocelio.gateway.store.calls.ownership import CallOwnershipQueries
from vocelio.gateway.store.db.database import Database, is_data_error
from vocelio.gateway.store.db.schema import call_events, call_logs, calls, usage

LOG = logging.getLogger(__name__)

BATCH_INTERVAL_SECONDS = (
    0.02  # from one commit to the next: what comes alone is written at once, what comes together, together
)
COMMIT_TIMEOUT_SECONDS = 6.0  # longer than a statement may take: past it the commit is taken for lost, and tried again
RETRY_INTERVAL_SECONDS = 0.5
MAX_CALLS_PER_COMMIT, MAX_EVENTS_PER_COMMIT = 1_000, 500  # in one commit, so that none takes long
MAX_PENDING_EVENTS = 100_000  # some 50 MB: half an hour of 50 calls
CLOSE_TIMEOUT_SECONDS = 1.5  # a process has ten to be gone, and its calls take the most of them
QUERY_TIMEOUT_SECONDS = (
    2.0  # for the database to answer a question about a call: Twilio waits for it, and a caller with it
)

T = TypeVar("T")
RowValues = dict[str, Any]
CallKey = tuple[str, str]

_CALL_KEY_COLUMNS = ("tenant_id", "id")
_EXTERNALLY_WRITTEN = {"told"}  # what others write
_USAGE_KEY_COLUMNS = ("tenant_id", "call_id", "segment")


class _PendingWrite(NamedTuple):
    """What is written of one call, made when it is saved: what cannot be written is that call's trouble only."""

    call_row: RowValues
    usage_rows: list[RowValues]
    log: bytes
    callbacks: list[tuple[Callable[[], None], Callable[[], None]]]  # to be told: committed, or overtaken

    @property
    def key(self) -> CallKey:
        return self.call_row["tenant_id"], self.call_row["id"]

    def merged_after(self, earlier: "_PendingWrite") -> "_PendingWrite":
        """In the place of what was saved before and has not been written: the logs of both, and all who wait."""
        return self._replace(log=earlier.log + self.log, callbacks=[*earlier.callbacks, *self.callbacks])


class WriteBehindCallStore:
    """The Journal port on a database. ``lost`` counts what was dropped or refused."""

    def __init__(self, database: Database, cipher: SecretCipher) -> None:
        self._database, self._queries = database, CallOwnershipQueries(cipher)
        self._pending_calls: dict[CallKey, _PendingWrite] = {}  # one for each call that changed
        self._in_flight: dict[CallKey, _PendingWrite] = {}  # those of the commit under way
        self._commit_done = asyncio.Event()  # set, and made anew, when a commit is over
        self._pending_events: deque[RowValues] = deque()
        self._wakeup = asyncio.Event()
        self._next_commit_at = 0.0  # when there may be another commit, by the loop's clock
        self._task: asyncio.Task[None] | None = None
        self._closing = False
        self.dropped = 0

    def save(
        self, call: StoredCall, on_committed: Callable[[], None] = noop, on_superseded: Callable[[], None] = noop
    ) -> None:
        """See Journal."""
        waiting = [] if on_committed is on_superseded is noop else [(on_committed, on_superseded)]
        rows = _PendingWrite(self._call_row(call), _usage_rows(call), call.log, waiting)
        before = self._pending_calls.get(rows.key)
        self._pending_calls[rows.key] = rows.merged_after(before) if before else rows
        self._wakeup.set()

    def append_event(self, event: Event, flow: str) -> None:
        """See Journal. Past the bound the oldest is dropped."""
        if len(self._pending_events) >= MAX_PENDING_EVENTS:
            self._pending_events.popleft()
            self.dropped += 1
        self._pending_events.append(_event_row(event, flow))
        self._wakeup.set()

    async def start(self) -> None:
        """Begin to write."""
        self._task = asyncio.create_task(self._run(), name="journal")

    async def aclose(self) -> None:
        """Until everything is written; when the database does not come back in time, what is left is logged as lost."""
        if self._task is None:
            return
        self._closing = True
        self._wakeup.set()
        _, late = await asyncio.wait({self._task}, timeout=CLOSE_TIMEOUT_SECONDS)
        if late:
            LOG.error(
                "the database is away: %d calls, %d events were not kept",
                len(self._pending_calls),
                len(self._pending_events),
            )
            self._task.cancel()
            await asyncio.wait(late)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while not (self._closing and not self._pending_calls and not self._pending_events):
            await self._wakeup.wait()
            await asyncio.sleep(0 if self._closing else max(0.0, self._next_commit_at - loop.time()))
            self._next_commit_at = loop.time() + BATCH_INTERVAL_SECONDS
            if not await self._write_batch():
                await asyncio.sleep(RETRY_INTERVAL_SECONDS)
            elif not self._pending_calls and not self._pending_events and not self._closing:
                self._wakeup.clear()

    async def _write_batch(self) -> bool:
        """Commit what has gathered, or put it back."""
        gathered = self._in_flight = {
            key: self._pending_calls.pop(key) for key in list(self._pending_calls)[:MAX_CALLS_PER_COMMIT]
        }
        events = [self._pending_events.popleft() for _ in range(min(MAX_EVENTS_PER_COMMIT, len(self._pending_events)))]
        try:
            kept = await self._commit_all(list(gathered.values()), events)
        except Exception as error:  # whatever it is, what calls have told is not lost by it, and the journal goes on
            if not isinstance(error, DatabaseUnavailable):
                LOG.exception("the journal could not write")
            self._requeue(gathered, events)
            return False
        finally:
            self._in_flight = {}
            self._commit_done.set()
            self._commit_done = asyncio.Event()
        loop = asyncio.get_running_loop()
        for rows, is_kept in kept:
            for committed, overtaken in rows.callbacks:
                loop.call_soon(committed if is_kept else overtaken)  # their trouble is not the journal's
        await asyncio.sleep(0)  # they may have more to tell
        return True

    def _requeue(self, failed: dict[tuple[str, str], _PendingWrite], events: list[RowValues]) -> None:
        """In front of what has come meanwhile; who waited for an earlier state of a call waits for the later one."""
        later, self._pending_calls = self._pending_calls, failed
        for key, rows in later.items():
            self._pending_calls[key] = rows.merged_after(failed[key]) if key in failed else rows
        self._pending_events.extendleft(reversed(events))

    async def _commit_all(
        self, pending: list[_PendingWrite], events: list[RowValues]
    ) -> list[tuple[_PendingWrite, bool]]:
        """One commit for all; what the database refuses must not keep the others waiting, so then one for each.

        Gives what is certain now: that it is kept, or that a later state is. Raises StoreUnavailable.
        """
        logs = {rows.key: await asyncio.to_thread(_log_row, rows) for rows in pending if rows.log}
        try:
            kept = await self._database.with_timeout(self._commit(pending, logs, events), COMMIT_TIMEOUT_SECONDS)
            return [(rows, rows.key in kept) for rows in pending]
        except SQLAlchemyError as error:
            if not is_data_error(error):
                raise
        certain = []
        for rows in pending:
            found = await self._commit_one(rows.call_row["id"], self._commit([rows], logs, []))
            if found is not None:
                certain.append((rows, rows.key in found))
        for row in events:
            await self._commit_one(row["call_id"], self._commit([], {}, [row]))
        return certain

    async def _commit_one(self, call: str, commit: Coroutine[Any, Any, set[CallKey]]) -> set[CallKey] | None:
        try:
            return await self._database.with_timeout(commit, COMMIT_TIMEOUT_SECONDS)
        except SQLAlchemyError as error:
            if not is_data_error(error):
                raise
            self.dropped += 1
            LOG.exception("the database refuses to keep something of %s: %s", call, type(error).__name__)
            return None

    async def _commit(
        self, pending: list[_PendingWrite], logs: dict[CallKey, RowValues], events: list[RowValues]
    ) -> set[CallKey]:
        """In the order of their keys, so that two processes cannot wait for each other. Gives what is kept."""
        async with self._database.transaction() as connection:
            kept = await self._upsert_calls(
                connection, [rows.call_row for rows in sorted(pending, key=lambda rows: rows.key)]
            )
            await self._upsert_usage(
                connection, [row for rows in pending if rows.key in kept for row in rows.usage_rows]
            )
            await self._insert_new(connection, call_logs, (row for key, row in logs.items() if key in kept))
            await self._insert_new(connection, call_events, events)
        return kept

    async def _upsert_calls(self, connection: AsyncConnection, rows: list[RowValues]) -> set[CallKey]:
        """Insert, or take the place of what is there, if that is not later: of a later generation or revision.

        The same again is kept again: a commit may have come about although nobody was told.
        """
        if not rows:
            return set()
        statement = self._database.upsert(calls)
        new = {
            c.name: statement.excluded[c.name]
            for c in calls.c
            if c.name not in {*_CALL_KEY_COLUMNS, *_EXTERNALLY_WRITTEN}
        }
        ours, theirs = statement.excluded, calls.c
        not_later = or_(
            ours.generation > theirs.generation,
            and_(ours.generation == theirs.generation, ours.revision >= theirs.revision),
        )
        statement = statement.on_conflict_do_update(index_elements=_CALL_KEY_COLUMNS, set_=new, where=not_later)
        found = await connection.execute(statement.returning(calls.c.tenant_id, calls.c.id), rows)
        return {(row.tenant_id, row.id) for row in found}

    async def _upsert_usage(self, connection: AsyncConnection, rows: list[RowValues]) -> None:
        if rows:
            statement = self._database.upsert(usage)
            new = {c.name: statement.excluded[c.name] for c in usage.c if c.name not in _USAGE_KEY_COLUMNS}
            await connection.execute(statement.on_conflict_do_update(index_elements=_USAGE_KEY_COLUMNS, set_=new), rows)

    async def _insert_new(self, connection: AsyncConnection, table: Table, rows: Iterable[RowValues]) -> None:
        if added := list(rows):
            await connection.execute(self._database.upsert(table).on_conflict_do_nothing(), added)

    # Calls of any process

    async def find(self, call: str, account_sid: str) -> StoredCall | None:
        """See Journal."""
        return await self._with_timeout(self._find(call, account_sid))

    async def take_over(
        self, tenant: str, call: str, account_sid: str, generation: int, due_at: int
    ) -> StoredCall | None:
        """See Journal."""
        return await self._with_timeout(self._take_over(tenant, call, account_sid, generation, due_at))

    async def claim(self, stored: StoredCall) -> bool:
        """See Journal."""
        return await self._with_timeout(self._run_change(self._queries.claim, stored))

    async def close(self, stored: StoredCall, ended_at: int, outcome: str) -> StoredCall | None:
        """See Journal."""
        return await self._with_timeout(self._run_change(self._queries.close, stored, ended_at, outcome))

    async def record_status(
        self, account_sid: str, call: str, status: StatusReport, due_at: int, generation: int | None = None
    ) -> None:
        """See Journal."""
        await self._with_timeout(
            self._run_change(self._queries.record_status, account_sid, call, status, due_at, generation)
        )

    async def find_expired(self, now: int, limit: int) -> Sequence[StoredCall]:
        """See Journal."""
        return await self._with_timeout(self._run_read(self._queries.find_expired, now, limit))

    async def purge_state(self, before: int) -> None:
        """See Journal."""
        await self._with_timeout(self._run_change(self._queries.purge_state, before))

    async def count_live(self, tenant: str) -> int:
        """See Journal."""
        return await self._with_timeout(self._run_read(self._queries.count_live, tenant))

    async def _with_timeout(self, query: Coroutine[Any, Any, T]) -> T:
        return await self._database.with_timeout(query, QUERY_TIMEOUT_SECONDS)

    async def _find(self, call: str, account_sid: str) -> StoredCall | None:
        await self._wait_written(call)
        return await self._run_read(self._queries.find, call, account_sid)

    async def _take_over(self, *which: Any) -> StoredCall | None:
        await self._wait_written(which[1])
        return await self._run_change(self._queries.take_over, *which)

    async def _wait_written(self, call: str) -> None:
        """What this process has saved of the call is written first: whoever asks here expects no less."""
        while any(key[1] == call for key in (*self._pending_calls, *self._in_flight)):
            await self._commit_done.wait()

    async def _run_read(self, query: Callable[..., Coroutine[Any, Any, T]], *arguments: Any) -> T:
        async with self._database.read() as connection:
            return await query(connection, *arguments)

    async def _run_change(self, change: Callable[..., Coroutine[Any, Any, T]], *arguments: Any) -> T:
        async with self._database.autocommit() as connection:
            return await change(connection, *arguments)

    def _call_row(self, call: StoredCall) -> RowValues:
        return {
            "tenant_id": call.tenant,
            "id": call.id,
            "account": call.account_sid,
            "number": call.number,
            "caller": call.caller,
            "flow_id": call.flow,
            "version": call.version or None,
            "revision": call.revision,
            "generation": call.generation,
            "due": None if call.ended_at else call.due_at,
            "started": call.started_at,
            "ended": call.ended_at or None,
            "outcome": call.outcome,
            "disposition": _truncate_text(call.disposition, 200),
            "department": _truncate_text(call.department, 64),
            "billed": call.billed_microseconds,
            "micro_usd": call.cost_micro_usd,
            "speech": dump_json(call.provider_usage) if call.provider_usage else None,
            "state": self._queries.encrypted_state(call),
        }


def _usage_rows(call: StoredCall) -> list[RowValues]:
    return [
        {
            "tenant_id": call.tenant,
            "call_id": call.id,
            "segment": index,
            "number": call.number,
            "flow_id": call.flow,
            "tier": segment.tier,
            "at": call.started_at,
            "billed": segment.billed_microseconds,
            "rate": segment.micro_usd_per_minute,
            "micro_usd": segment.cost_micro_usd,
        }
        for index, segment in enumerate(call.segments)
    ]


def _log_row(pending: _PendingWrite) -> RowValues:
    """Compressing a long one takes some milliseconds."""
    return {
        "tenant_id": pending.call_row["tenant_id"],
        "call_id": pending.call_row["id"],
        "generation": pending.call_row["generation"],
        "revision": pending.call_row["revision"],
        "log": zlib.compress(pending.log, 1),
    }


def _event_row(event: Event, flow: str) -> RowValues:
    return {
        "tenant_id": event.tenant,
        "call_id": event.call,
        "generation": event.generation,
        "seq": event.seq,
        "type": event.type,
        "at": event.at,
        "flow_id": flow,
        "data": dump_json(event.data),
        "node": _truncate_text(event.data.get("node"), 64),
        "exit": _truncate_text(event.data.get("exit"), 64),
        "latency": event.data.get("latency_ms"),
    }


def _truncate_text(value: str | None, max_length: int) -> str | None:
    """What a flow has made is cut to what both databases take: a call's end must never be refused for a word."""
    return None if value is None else value.replace("\0", "")[:max_length]
