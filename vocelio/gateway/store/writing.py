"""The journal that writes to the database: many calls in one commit.

What calls want kept waits here for a few milliseconds and is then committed together, once for all of them. A call
that is saved again meanwhile is written once, as it is last. When the database does not answer, everything stays here
and is tried again until it does; written twice it is still counted once, since every row has its own key and a call's
later revision replaces an earlier one. What grows without bound in such a time is the timelines, so of these only the
newest are held; calls, their ends and their costs are all held: new calls are not taken meanwhile, so they are few.
"""

import asyncio
import logging
import zlib
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from vocelio.gateway.errors import StoreUnavailable
from vocelio.gateway.events import Event
from vocelio.gateway.store.actor import to_json
from vocelio.gateway.store.database import Database, is_bad_data
from vocelio.gateway.store.journal import SavedCall, nothing
from vocelio.gateway.store.schema import call_events, call_logs, calls, usage

LOG = logging.getLogger(__name__)

GATHER_SECONDS = 0.02  # a caller does not notice, and a busy process commits at most fifty times a second
COMMIT_SECONDS = 6.0  # longer than a statement may take: past it the commit is taken for lost, and tried again
RETRY_SECONDS = 0.5
CALLS_AT_ONCE, EVENTS_AT_ONCE = 1_000, 500  # in one commit, so that none takes long
MAX_EVENTS = 100_000  # some 50 MB: half an hour of 50 calls
CLOSING_SECONDS = 8.0

Row = dict[str, Any]

_KEY = {calls: ("tenant_id", "id"), usage: ("tenant_id", "call_id", "segment"), call_logs: ("tenant_id", "call_id")}


class _Rows(NamedTuple):
    """What is written of one call, made when it is saved: what cannot be written is that call's trouble only."""

    call: Row
    usage: list[Row]
    log: bytes
    committed: list[Callable[[], None]]


class DatabaseJournal:
    """The Journal port on a database. ``lost`` counts what was dropped or refused."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._calls: dict[tuple[str, str], _Rows] = {}  # one for each call that changed
        self._events: deque[Row] = deque()
        self._wakeup = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._closing = False
        self.lost = 0

    def save(self, call: SavedCall, committed: Callable[[], None] = nothing) -> None:
        """See Journal."""
        key = (call.tenant, call.id)
        waiting = self._calls[key].committed if key in self._calls else []
        if committed is not nothing:
            waiting = [*waiting, committed]
        self._calls[key] = _Rows(_call(call), _usage(call), call.log, waiting)
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
        while not (self._closing and not self._calls and not self._events):
            await self._wakeup.wait()
            await asyncio.sleep(0 if self._closing else GATHER_SECONDS)
            if not await self._write():
                await asyncio.sleep(RETRY_SECONDS)
            elif not self._calls and not self._events and not self._closing:
                self._wakeup.clear()

    async def _write(self) -> bool:
        """Commit what has gathered, or put it back."""
        gathered = {key: self._calls.pop(key) for key in list(self._calls)[:CALLS_AT_ONCE]}
        events = [self._events.popleft() for _ in range(min(EVENTS_AT_ONCE, len(self._events)))]
        try:
            kept = await self._commit_all(list(gathered.values()), events)
        except Exception as error:  # whatever it is, what calls have told is not lost by it, and the journal goes on
            if not isinstance(error, StoreUnavailable):
                LOG.exception("the journal could not write")
            self._put_back(gathered, events)
            return False
        for rows in kept:
            for committed in rows.committed:
                asyncio.get_running_loop().call_soon(committed)  # what goes wrong there is not the journal's trouble
        await asyncio.sleep(0)  # they may have more to tell
        return True

    def _put_back(self, gathered: dict[tuple[str, str], _Rows], events: list[Row]) -> None:
        """In front of what has come meanwhile; who waited for an earlier state of a call waits for the later one."""
        later, self._calls = self._calls, {}
        for key, rows in (gathered | later).items():
            before = gathered[key].committed if key in later and key in gathered else []
            self._calls[key] = rows._replace(committed=[*before, *rows.committed])
        self._events.extendleft(reversed(events))

    async def _commit_all(self, saved: list[_Rows], events: list[Row]) -> list[_Rows]:
        """One commit for all; what the database refuses must not keep the others waiting, so then one for each.

        Gives what is kept. Raises StoreUnavailable.
        """
        logs = [await asyncio.to_thread(_log, rows) for rows in saved if rows.log]
        try:
            await self._database.in_time(self._commit(saved, logs, events), COMMIT_SECONDS)
        except SQLAlchemyError as error:
            if not is_bad_data(error):
                raise
        else:
            return saved
        kept = []
        for rows in saved:
            log = [row for row in logs if row["call_id"] == rows.call["id"]]
            if await self._is_kept(rows.call["id"], self._commit([rows], log, [])):
                kept.append(rows)
        for row in events:
            await self._is_kept(row["call_id"], self._commit([], [], [row]))
        return kept

    async def _is_kept(self, call: str, commit: Coroutine[Any, Any, None]) -> bool:
        try:
            await self._database.in_time(commit, COMMIT_SECONDS)
        except SQLAlchemyError as error:
            if not is_bad_data(error):
                raise
            self.lost += 1
            LOG.exception("the database refuses to keep something of %s: %s", call, type(error).__name__)
            return False
        return True

    async def _commit(self, saved: list[_Rows], logs: list[Row], events: list[Row]) -> None:
        async with self._database.writing() as connection:
            await self._put(connection, calls, [rows.call for rows in saved], "revision")
            await self._put(connection, usage, [row for rows in saved for row in rows.usage])
            await self._put(connection, call_logs, logs)
            if events:
                await connection.execute(self._database.upsert(call_events).on_conflict_do_nothing(), events)

    async def _put(self, connection: AsyncConnection, table: Any, rows: list[Row], newer: str = "") -> None:
        """Insert, or take the place of what is there: if it is ``newer``."""
        if not rows:
            return
        statement = self._database.upsert(table)
        key = _KEY[table]
        new = {column.name: statement.excluded[column.name] for column in table.c if column.name not in key}
        where = statement.excluded[newer] > table.c[newer] if newer else None
        await connection.execute(statement.on_conflict_do_update(index_elements=key, set_=new, where=where), rows)


def _call(call: SavedCall) -> Row:
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
        "started": call.started,
        "ended": call.ended or None,
        "outcome": call.outcome,
        "disposition": _text(call.disposition, 200),
        "department": _text(call.department, 64),
        "billed": call.billed,
        "micro_usd": call.micro_usd,
        "state": None if call.state is None else to_json(call.state),
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
