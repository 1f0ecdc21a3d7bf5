"""Calls as they were kept: the list, and one call with its timeline, its bill and its log.

Nothing here writes: calls do, by the journal. So what is live may be a few milliseconds behind.
"""

import asyncio
import zlib
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta
from sqlalchemy import BigInteger, ColumnElement, Row, Select, case, func, literal, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from vocelio.engine.voice import Tier
from vocelio.gateway.errors import NotFound
from vocelio.gateway.model.types import END, Name, PhoneNumber
from vocelio.gateway.store.calls.interface import Segment, Tally
from vocelio.gateway.store.calls.live import current_node
from vocelio.gateway.store.db import pagination
from vocelio.gateway.store.db.database import Database
from vocelio.gateway.store.db.pagination import LONGEST_CURSOR, Items
from vocelio.gateway.store.db.schema import call_events, call_logs, calls, usage

AT_ONCE = 5_000  # events of a timeline: 1.5 MB of JSON; an hour of talking has fewer
SEGMENTS = 1_000  # of a bill: nobody changes the voice tier as often, but what is read has a bound
YEAR_10000 = 253_402_300_800_000_000

CallId = Annotated[str, Meta(pattern=f"^[A-Za-z0-9_-]{{1,34}}{END}", description="Twilio's name of a call: CA...")]
Instant = Annotated[int, Meta(ge=0, lt=YEAR_10000, description="whole microseconds since 1970, UTC")]
Cursor = Annotated[str, Meta(max_length=LONGEST_CURSOR)]
Outcome = Literal[
    "completed",
    "transferred",
    "failed",
    "abandoned",
    "lost",
    "paused",
    "unassigned",
    "suspended",
    "blocked",
    "busy",
    "full",
    "unavailable",
]


class Search(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which calls: those that began from ``since`` on and before ``until``, and are all of what else is given."""

    state: Literal["live", "ended"] | None = None
    flow: Name | None = None
    number: PhoneNumber | None = None
    caller: PhoneNumber | None = None
    outcome: Outcome | None = None
    since: Instant | None = None
    until: Instant | None = None
    limit: Annotated[int, Meta(ge=1, le=200)] = 50
    cursor: Cursor = ""


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One caller's visit. Instants are whole microseconds UTC.

    ``caller`` is empty when it was withheld. ``version`` is none, and ``flow`` may be empty, when the call was turned
    away before a flow began. ``ended`` is none and ``outcome`` empty while it goes on. ``department`` is the last that
    was rung. ``billed`` is in microseconds, ``seconds`` the same in seconds; ``micro_usd`` is what it costs so far.
    ``generation`` counts its streams. ``node`` is where the flow is, while the call goes on.
    """

    id: str
    number: str
    caller: str
    flow: str
    version: int | None
    started: int
    ended: int | None
    outcome: str
    disposition: str
    department: str
    billed: int
    seconds: float
    micro_usd: int
    generation: int
    node: str = ""


class TimelinePage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which part of a timeline: at most ``limit`` events, from behind the cursor."""

    limit: Annotated[int, Meta(ge=1, le=AT_ONCE)] = AT_ONCE
    cursor: Cursor = ""


class Happened(msgspec.Struct, frozen=True):
    """An event of a call: docs/events.md has the types and their data. ``seq`` counts within a generation."""

    generation: int
    seq: int
    type: str
    at: int
    data: dict[str, Any]


class Timeline(Call, frozen=True, kw_only=True):
    """A call with its bill, a segment for each voice tier in turn, and what happened, in order.

    ``speech`` is what each provider of speech did for it.
    ``next`` is the cursor of the events behind these; empty when there are no more.
    """

    segments: list[Segment]
    speech: dict[Tier, Tally]
    events: list[Happened]
    next: str


async def every(database: Database, tenant: str, search: Search) -> Items[Call]:
    """A tenant's calls, the newest first. Raises Invalid when the cursor is none of theirs."""
    behind = pagination.after(search.cursor, int, str)
    newest = (calls.c.started.desc(), calls.c.id.desc())
    query = _shown().where(*_matching(tenant, search)).order_by(*newest).limit(search.limit + 1)
    if behind:
        query = query.where(tuple_(calls.c.started, calls.c.id) < behind)
    async with database.reading() as connection:
        rows = (await connection.execute(query)).all()
    return pagination.cut(rows, search.limit, lambda row: Call(**_call(row)), lambda row: (row.started, row.id))


async def find(database: Database, tenant: str, call: str) -> Call:
    """One call. Raises NotFound."""
    async with database.reading() as connection:
        return Call(**_call(await _row(connection, tenant, call)))


async def timeline(database: Database, tenant: str, call: str, page: TimelinePage) -> Timeline:
    """One call with what happened in it. Raises NotFound, and Invalid when the cursor is none."""
    behind = pagination.after(page.cursor, int, int)
    async with database.reading() as connection:
        row = await _row(connection, tenant, call)
        segments = await _segments(connection, tenant, call)
        rows = await _events(connection, tenant, call, behind, page.limit + 1)
    happened = pagination.cut(rows, page.limit, _happened, lambda row: (row.generation, row.seq))
    call_facts = _call(row)
    if segments:  # a live call's may have been saved again since: what is shown must add up
        billed = sum(segment.billed for segment in segments)
        call_facts |= {"billed": billed, "seconds": billed / 1e6, "micro_usd": sum(part.micro_usd for part in segments)}
    speech = msgspec.json.decode(row.speech or "{}", type=dict[Tier, Tally])
    return Timeline(**call_facts, segments=segments, speech=speech, events=happened.items, next=happened.next)


async def log(database: Database, tenant: str, call: str) -> bytes:
    """What ``vocelio replay`` reads: JSON lines. Raises NotFound, also when the call has not ended yet."""
    order = (call_logs.c.generation, call_logs.c.revision)
    query = select(call_logs.c.log).where(call_logs.c.tenant_id == tenant, call_logs.c.call_id == call)
    async with database.reading() as connection:
        ended = (await _row(connection, tenant, call)).ended is not None
        pieces = (await connection.scalars(query.order_by(*order))).all() if ended else []
    if not pieces:
        raise NotFound
    return await asyncio.to_thread(lambda: b"".join(map(zlib.decompress, pieces)))  # a long call's has 4 MB


def _shown() -> Select[Any]:
    """Rows of calls, with the node that a live one is at: of others nobody looks for it."""
    node = case((calls.c.ended.is_(None), func.coalesce(current_node(), "")), else_="")
    return select(calls, node.label("node"))


def _matching(tenant: str, search: Search) -> list[ColumnElement[bool]]:
    wanted = {
        calls.c.flow_id: search.flow,
        calls.c.number: search.number,
        calls.c.caller: search.caller,
        calls.c.outcome: search.outcome,
    }
    found = [calls.c.tenant_id == tenant, *(column == value for column, value in wanted.items() if value is not None)]
    if search.since is not None:
        found.append(calls.c.started >= search.since)
    if search.until is not None:
        found.append(calls.c.started < search.until)
    if search.state is not None:
        found.append(calls.c.ended.is_(None) if search.state == "live" else calls.c.ended.is_not(None))
    return found


async def _row(connection: AsyncConnection, tenant: str, call: str) -> Row[Any]:
    found = await connection.execute(_shown().where(calls.c.tenant_id == tenant, calls.c.id == call))
    row: Row[Any] | None = found.first()
    if row is None:
        raise NotFound
    return row


async def _segments(connection: AsyncConnection, tenant: str, call: str) -> list[Segment]:
    query = select(usage).where(usage.c.tenant_id == tenant, usage.c.call_id == call)
    rows = await connection.execute(query.order_by(usage.c.segment).limit(SEGMENTS))
    return [Segment(row.tier, row.billed, row.rate, row.micro_usd) for row in rows]


async def _events(
    connection: AsyncConnection, tenant: str, call: str, behind: tuple[Any, ...] | None, limit: int
) -> list[Row[Any]]:
    order = (call_events.c.generation, call_events.c.seq)
    query = select(call_events).where(call_events.c.tenant_id == tenant, call_events.c.call_id == call)
    if behind:
        query = query.where(tuple_(*order) > tuple_(*(literal(part, BigInteger) for part in behind)))
    return list(await connection.execute(query.order_by(*order).limit(limit)))


def _call(row: Row[Any]) -> dict[str, Any]:
    return {
        "id": row.id,
        "number": row.number,
        "caller": row.caller,
        "flow": row.flow_id,
        "version": row.version,
        "started": row.started,
        "ended": row.ended,
        "outcome": row.outcome,
        "disposition": row.disposition,
        "department": row.department,
        "billed": row.billed,
        "seconds": row.billed / 1e6,
        "micro_usd": row.micro_usd,
        "generation": row.generation,
        "node": row.node,
    }


def _happened(row: Row[Any]) -> Happened:
    return Happened(row.generation, row.seq, row.type, row.at, msgspec.json.decode(row.data))
