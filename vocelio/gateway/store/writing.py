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
from collections.abc import Callable
from typing import Any, NamedTuple

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from vocelio.gateway.errors import StoreUnavailable
from vocelio.gateway.events import Event
from vocelio.gateway.store.actor import to_json
from vocelio.gateway.store.database import Database
from vocelio.gateway.store.journal import SavedCall, nothing
from vocelio.gateway.store.schema import call_events, call_logs, calls, usage

LOG = logging.getLogger(__name__)

GATHER_SECONDS = 0.02  # a caller does not notice, and a busy process commits at most fifty times a second
COMMIT_SECONDS = 6.0  # longer than a statement may take: past it the commit is taken for lost, and tried again
RETRY_SECONDS = 0.5
AT_ONCE = 500  # events in one commit, so that none takes long
MAX_EVENTS = 100_000  # some 50 MB: half an hour of 50 calls
CLOSING_SECONDS = 8.0

Row = dict[str, Any]

_KEY = {calls: ("tenant_id", "id"), usage: ("tenant_id", "call_id", "segment"), call_logs: ("tenant_id", "call_id")}


class _Rows(NamedTuple):
    """What is written of one call, made when it is saved: what cannot be written is that call's trouble only."""

    call: Row
    usage: list[Row]
    log: bytes


class DatabaseJournal:
    """The Journal port on a database. ``lost`` counts what was dropped or refused."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._calls: dict[tuple[str, str], _Rows] = {}  # one for each call that changed
        self._callbacks: list[Callable[[], None]] = []  # of what is in _calls: no more than a few for each
        self._events: deque[Row] = deque()
        self._wakeup = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._closing = False
        self.lost = 0

    def save(self, call: SavedCall, committed: Callable[[], None] = nothing) -> None:
        """See Journal."""
        self._calls[call.tenant, call.id] = _Rows(_call(call), _usage(call), call.log)
        if committed is not nothing:
            self._callbacks.append(committed)
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
        gathered, self._calls = self._calls, {}
        callbacks, self._callbacks = self._callbacks, []
        events = [self._events.popleft() for _ in range(min(AT_ONCE, len(self._events)))]
        try:
            await self._commit_all(list(gathered.values()), events)
        except StoreUnavailable:
            self._calls = gathered | self._calls
            self._callbacks = callbacks + self._callbacks
            self._events.extendleft(reversed(events))
            return False
        for committed in callbacks:
            asyncio.get_running_loop().call_soon(committed)  # what goes wrong there is not the journal's trouble
        return True

    async def _commit_all(self, saved: list[_Rows], events: list[Row]) -> None:
        """One commit for all; what the database refuses must not keep the others waiting, so then one for each."""
        try:
            await self._database.in_time(self._commit(saved, events), COMMIT_SECONDS)
        except SQLAlchemyError:
            for rows in saved:
                await self._commit_one(rows.call["id"], [rows], [])
            for row in events:
                await self._commit_one(row["call_id"], [], [row])

    async def _commit_one(self, call: str, saved: list[_Rows], events: list[Row]) -> None:
        try:
            await self._database.in_time(self._commit(saved, events), COMMIT_SECONDS)
        except SQLAlchemyError as error:
            self.lost += 1
            LOG.exception("the database refuses to keep something of %s: %s", call, type(error).__name__)

    async def _commit(self, saved: list[_Rows], events: list[Row]) -> None:
        logs = [await asyncio.to_thread(_log, rows) for rows in saved if rows.log]
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
        "disposition": call.disposition,
        "department": call.department,
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
        "node": event.data.get("node"),
        "exit": event.data.get("exit"),
        "latency": event.data.get("latency_ms"),
    }
