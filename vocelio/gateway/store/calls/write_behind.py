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

from vocelio.gateway.crypto.encryption import Vault
from vocelio.gateway.errors import StoreUnavailable
from vocelio.gateway.events import Event
from vocelio.gateway.store.audit.actor import to_json
from vocelio.gateway.store.calls.interface import SavedCall, Told, nothing
from vocelio.gateway.store.calls.ownership import Underway
from vocelio.gateway.store.db.database import Database, is_bad_data
from vocelio.gateway.store.db.schema import call_events, call_logs, calls, usage

LOG = logging.getLogger(__name__)

GATHER_SECONDS = 0.02  # from one commit to the next: what comes alone is written at once, what comes together, together
COMMIT_SECONDS = 6.0  # longer than a statement may take: past it the commit is taken for lost, and tried again
RETRY_SECONDS = 0.5
CALLS_AT_ONCE, EVENTS_AT_ONCE = 1_000, 500  # in one commit, so that none takes long
MAX_EVENTS = 100_000  # some 50 MB: half an hour of 50 calls
CLOSING_SECONDS = 1.5  # a process has ten to be gone, and its calls take the most of them
ASK_SECONDS = 2.0  # for the database to answer a question about a call: Twilio waits for it, and a caller with it

T = TypeVar("T")
Row = dict[str, Any]
Key = tuple[str, str]

_CALL_KEY = ("tenant_id", "id")
_NOT_SAVED = {"told"}  # what others write
_USAGE_KEY = ("tenant_id", "call_id", "segment")


class _Rows(NamedTuple):
    """What is written of one call, made when it is saved: what cannot be written is that call's trouble only."""

    call: Row
    usage: list[Row]
    log: bytes
    waiting: list[tuple[Callable[[], None], Callable[[], None]]]  # to be told: committed, or overtaken

    @property
    def key(self) -> Key:
        return self.call["tenant_id"], self.call["id"]

    def behind(self, earlier: "_Rows") -> "_Rows":
        """In the place of what was saved before and has not been written: the logs of both, and all who wait."""
        return self._replace(log=earlier.log + self.log, waiting=[*earlier.waiting, *self.waiting])


class DatabaseJournal:
    """The Journal port on a database. ``lost`` counts what was dropped or refused."""

    def __init__(self, database: Database, vault: Vault) -> None:
        self._database, self._underway = database, Underway(vault)
        self._calls: dict[Key, _Rows] = {}  # one for each call that changed
        self._gathered: dict[Key, _Rows] = {}  # those of the commit under way
        self._written = asyncio.Event()  # set, and made anew, when a commit is over
        self._events: deque[Row] = deque()
        self._wakeup = asyncio.Event()
        self._next = 0.0  # when there may be another commit, by the loop's clock
        self._task: asyncio.Task[None] | None = None
        self._closing = False
        self.lost = 0

    def save(
        self, call: SavedCall, committed: Callable[[], None] = nothing, overtaken: Callable[[], None] = nothing
    ) -> None:
        """See Journal."""
        waiting = [] if committed is overtaken is nothing else [(committed, overtaken)]
        rows = _Rows(self._call(call), _usage(call), call.log, waiting)
        before = self._calls.get(rows.key)
        self._calls[rows.key] = rows.behind(before) if before else rows
        self._wakeup.set()

    def tell(self, event: Event, flow: str) -> None:
        """See Journal. Past the bound the oldest is dropped."""
        if len(self._events) >= MAX_EVENTS:
            self._events.popleft()
            self.lost += 1
        self._events.append(_event(event, flow))
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
        _, late = await asyncio.wait({self._task}, timeout=CLOSING_SECONDS)
        if late:
            LOG.error("the database is away: %d calls, %d events were not kept", len(self._calls), len(self._events))
            self._task.cancel()
            await asyncio.wait(late)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while not (self._closing and not self._calls and not self._events):
            await self._wakeup.wait()
            await asyncio.sleep(0 if self._closing else max(0.0, self._next - loop.time()))
            self._next = loop.time() + GATHER_SECONDS
            if not await self._write():
                await asyncio.sleep(RETRY_SECONDS)
            elif not self._calls and not self._events and not self._closing:
                self._wakeup.clear()

    async def _write(self) -> bool:
        """Commit what has gathered, or put it back."""
        gathered = self._gathered = {key: self._calls.pop(key) for key in list(self._calls)[:CALLS_AT_ONCE]}
        events = [self._events.popleft() for _ in range(min(EVENTS_AT_ONCE, len(self._events)))]
        try:
            kept = await self._commit_all(list(gathered.values()), events)
        except Exception as error:  # whatever it is, what calls have told is not lost by it, and the journal goes on
            if not isinstance(error, StoreUnavailable):
                LOG.exception("the journal could not write")
            self._put_back(gathered, events)
            return False
        finally:
            self._gathered = {}
            self._written.set()
            self._written = asyncio.Event()
        loop = asyncio.get_running_loop()
        for rows, is_kept in kept:
            for committed, overtaken in rows.waiting:
                loop.call_soon(committed if is_kept else overtaken)  # their trouble is not the journal's
        await asyncio.sleep(0)  # they may have more to tell
        return True

    def _put_back(self, gathered: dict[tuple[str, str], _Rows], events: list[Row]) -> None:
        """In front of what has come meanwhile; who waited for an earlier state of a call waits for the later one."""
        later, self._calls = self._calls, gathered
        for key, rows in later.items():
            self._calls[key] = rows.behind(gathered[key]) if key in gathered else rows
        self._events.extendleft(reversed(events))

    async def _commit_all(self, saved: list[_Rows], events: list[Row]) -> list[tuple[_Rows, bool]]:
        """One commit for all; what the database refuses must not keep the others waiting, so then one for each.

        Gives what is certain now: that it is kept, or that a later state is. Raises StoreUnavailable.
        """
        logs = {rows.key: await asyncio.to_thread(_log, rows) for rows in saved if rows.log}
        try:
            kept = await self._database.in_time(self._commit(saved, logs, events), COMMIT_SECONDS)
            return [(rows, rows.key in kept) for rows in saved]
        except SQLAlchemyError as error:
            if not is_bad_data(error):
                raise
        certain = []
        for rows in saved:
            found = await self._commit_one(rows.call["id"], self._commit([rows], logs, []))
            if found is not None:
                certain.append((rows, rows.key in found))
        for row in events:
            await self._commit_one(row["call_id"], self._commit([], {}, [row]))
        return certain

    async def _commit_one(self, call: str, commit: Coroutine[Any, Any, set[Key]]) -> set[Key] | None:
        try:
            return await self._database.in_time(commit, COMMIT_SECONDS)
        except SQLAlchemyError as error:
            if not is_bad_data(error):
                raise
            self.lost += 1
            LOG.exception("the database refuses to keep something of %s: %s", call, type(error).__name__)
            return None

    async def _commit(self, saved: list[_Rows], logs: dict[Key, Row], events: list[Row]) -> set[Key]:
        """In the order of their keys, so that two processes cannot wait for each other. Gives what is kept."""
        async with self._database.writing() as connection:
            kept = await self._put_calls(connection, [rows.call for rows in sorted(saved, key=lambda rows: rows.key)])
            await self._put_usage(connection, [row for rows in saved if rows.key in kept for row in rows.usage])
            await self._add(connection, call_logs, (row for key, row in logs.items() if key in kept))
            await self._add(connection, call_events, events)
        return kept

    async def _put_calls(self, connection: AsyncConnection, rows: list[Row]) -> set[Key]:
        """Insert, or take the place of what is there, if that is not later: of a later generation or revision.

        The same again is kept again: a commit may have come about although nobody was told.
        """
        if not rows:
            return set()
        statement = self._database.upsert(calls)
        new = {c.name: statement.excluded[c.name] for c in calls.c if c.name not in {*_CALL_KEY, *_NOT_SAVED}}
        ours, theirs = statement.excluded, calls.c
        not_later = or_(
            ours.generation > theirs.generation,
            and_(ours.generation == theirs.generation, ours.revision >= theirs.revision),
        )
        statement = statement.on_conflict_do_update(index_elements=_CALL_KEY, set_=new, where=not_later)
        found = await connection.execute(statement.returning(calls.c.tenant_id, calls.c.id), rows)
        return {(row.tenant_id, row.id) for row in found}

    async def _put_usage(self, connection: AsyncConnection, rows: list[Row]) -> None:
        if rows:
            statement = self._database.upsert(usage)
            new = {c.name: statement.excluded[c.name] for c in usage.c if c.name not in _USAGE_KEY}
            await connection.execute(statement.on_conflict_do_update(index_elements=_USAGE_KEY, set_=new), rows)

    async def _add(self, connection: AsyncConnection, table: Table, rows: Iterable[Row]) -> None:
        if added := list(rows):
            await connection.execute(self._database.upsert(table).on_conflict_do_nothing(), added)

    # Calls of any process

    async def find(self, call: str, account: str) -> SavedCall | None:
        """See Journal."""
        return await self._asked(self._found(call, account))

    async def take_over(self, tenant: str, call: str, account: str, generation: int, due: int) -> SavedCall | None:
        """See Journal."""
        return await self._asked(self._taken_over(tenant, call, account, generation, due))

    async def claim(self, kept: SavedCall) -> bool:
        """See Journal."""
        return await self._asked(self._changed(self._underway.claim, kept))

    async def finish(self, kept: SavedCall, ended: int, outcome: str) -> SavedCall | None:
        """See Journal."""
        return await self._asked(self._changed(self._underway.finish, kept, ended, outcome))

    async def hear(self, account: str, call: str, told: Told, due: int, generation: int | None = None) -> None:
        """See Journal."""
        await self._asked(self._changed(self._underway.hear, account, call, told, due, generation))

    async def overdue(self, now: int, limit: int) -> Sequence[SavedCall]:
        """See Journal."""
        return await self._asked(self._read(self._underway.overdue, now, limit))

    async def forget(self, before: int) -> None:
        """See Journal."""
        await self._asked(self._changed(self._underway.forget, before))

    async def count(self, tenant: str) -> int:
        """See Journal."""
        return await self._asked(self._read(self._underway.count, tenant))

    async def _asked(self, question: Coroutine[Any, Any, T]) -> T:
        return await self._database.in_time(question, ASK_SECONDS)

    async def _found(self, call: str, account: str) -> SavedCall | None:
        await self._settled(call)
        return await self._read(self._underway.find, call, account)

    async def _taken_over(self, *which: Any) -> SavedCall | None:
        await self._settled(which[1])
        return await self._changed(self._underway.take_over, *which)

    async def _settled(self, call: str) -> None:
        """What this process has saved of the call is written first: whoever asks here expects no less."""
        while any(key[1] == call for key in (*self._calls, *self._gathered)):
            await self._written.wait()

    async def _read(self, question: Callable[..., Coroutine[Any, Any, T]], *about: Any) -> T:
        async with self._database.reading() as connection:
            return await question(connection, *about)

    async def _changed(self, change: Callable[..., Coroutine[Any, Any, T]], *about: Any) -> T:
        async with self._database.changing() as connection:
            return await change(connection, *about)

    def _call(self, call: SavedCall) -> Row:
        return {
            "tenant_id": call.tenant,
            "id": call.id,
            "account": call.account,
            "number": call.number,
            "caller": call.caller,
            "flow_id": call.flow,
            "version": call.version or None,
            "revision": call.revision,
            "generation": call.generation,
            "due": None if call.ended else call.due,
            "started": call.started,
            "ended": call.ended or None,
            "outcome": call.outcome,
            "disposition": _text(call.disposition, 200),
            "department": _text(call.department, 64),
            "billed": call.billed,
            "micro_usd": call.micro_usd,
            "speech": to_json(call.speech) if call.speech else None,
            "state": self._underway.locked(call),
        }


def _usage(call: SavedCall) -> list[Row]:
    return [
        {
            "tenant_id": call.tenant,
            "call_id": call.id,
            "segment": index,
            "number": call.number,
            "flow_id": call.flow,
            "tier": segment.tier,
            "at": call.started,
            "billed": segment.billed,
            "rate": segment.rate,
            "micro_usd": segment.micro_usd,
        }
        for index, segment in enumerate(call.segments)
    ]


def _log(rows: _Rows) -> Row:
    """Compressing a long one takes some milliseconds."""
    return {
        "tenant_id": rows.call["tenant_id"],
        "call_id": rows.call["id"],
        "generation": rows.call["generation"],
        "revision": rows.call["revision"],
        "log": zlib.compress(rows.log, 1),
    }


def _event(event: Event, flow: str) -> Row:
    return {
        "tenant_id": event.tenant,
        "call_id": event.call,
        "generation": event.generation,
        "seq": event.seq,
        "type": event.type,
        "at": event.at,
        "flow_id": flow,
        "data": to_json(event.data),
        "node": _text(event.data.get("node"), 64),
        "exit": _text(event.data.get("exit"), 64),
        "latency": event.data.get("latency_ms"),
    }


def _text(value: str | None, longest: int) -> str | None:
    """What a flow has made is cut to what both databases take: a call's end must never be refused for a word."""
    return None if value is None else value.replace("\0", "")[:longest]
