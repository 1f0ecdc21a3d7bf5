"""Stored calls for the API: the list, and one call with its timeline, its bill and its log.

Only reads; calls are written by the call store, so a live call may be some milliseconds behind.
"""

import asyncio
import zlib
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta
from sqlalchemy import BigInteger, ColumnElement, Row, Select, case, func, literal, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from vocelio.engine.voice import Tier
from vocelio.gateway.clock import Instant
from vocelio.gateway.errors import NotFound
from vocelio.gateway.model.types import PATTERN_END, PhoneNumber, ResourceName
from vocelio.gateway.store.calls.interface import ProviderUsageTotals, Segment
from vocelio.gateway.store.calls.live import current_node
from vocelio.gateway.store.db import pagination
from vocelio.gateway.store.db.database import Database
from vocelio.gateway.store.db.pagination import MAX_CURSOR_LENGTH, Page
from vocelio.gateway.store.db.schema import call_events, call_logs, calls, usage

MAX_TIMELINE_EVENTS = 5_000  # 1.5 MB of JSON; an hour of conversation has fewer
MAX_SEGMENTS = 1_000  # of a bill: no call changes its voice tier as often

CallId = Annotated[str, Meta(pattern=f"^[A-Za-z0-9_-]{{1,34}}{PATTERN_END}", description="a Twilio call SID: CA...")]
Cursor = Annotated[str, Meta(max_length=MAX_CURSOR_LENGTH)]
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
    "tenant_limit",
    "capacity",
    "unavailable",
]


class CallQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Filters of calls: started from ``since`` on and before ``until``, and matching everything else that is given."""

    status: Literal["live", "ended"] | None = None
    flow: ResourceName | None = None
    number: PhoneNumber | None = None
    caller: PhoneNumber | None = None
    outcome: Outcome | None = None
    since: Instant | None = None
    until: Instant | None = None
    limit: Annotated[int, Meta(ge=1, le=200)] = 50
    cursor: Cursor = ""


class CallSummary(msgspec.Struct, frozen=True, kw_only=True):
    """One call. Instants are whole microseconds UTC.

    ``caller`` is empty when withheld. ``version`` is null, and ``flow`` may be empty, when the call was rejected before
    a flow started. While the call is live, ``ended_at`` is null, ``outcome`` is empty and ``node`` is the flow's
    current node. ``department`` is the last one that was rung. ``billed_microseconds`` and ``billed_seconds`` are the
    same duration, ``cost_micro_usd`` is its cost so far. ``generation`` counts the call's streams.
    """

    id: str
    number: str
    caller: str
    flow: str
    version: int | None
    started_at: Instant
    ended_at: Instant | None
    outcome: str
    disposition: str
    department: str
    billed_microseconds: int
    billed_seconds: float
    cost_micro_usd: int
    generation: int
    node: str = ""


class TimelineQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A page of a timeline: at most ``limit`` events after the cursor."""

    limit: Annotated[int, Meta(ge=1, le=MAX_TIMELINE_EVENTS)] = MAX_TIMELINE_EVENTS
    cursor: Cursor = ""


class TimelineEvent(msgspec.Struct, frozen=True):
    """An event of a call; docs/events.md has the types and their data. ``seq`` counts within a generation."""

    generation: int
    sequence: int
    type: str
    occurred_at: Instant
    data: dict[str, Any]


class CallDetail(CallSummary, frozen=True, kw_only=True):
    """A call with its bill (a segment for each voice tier in turn) and its timeline, in order.

    ``provider_usage`` is the use of each speech provider. ``next_cursor`` is the cursor of the following events, empty
    when there are none.
    """

    segments: list[Segment]
    provider_usage: dict[Tier, ProviderUsageTotals]
    events: list[TimelineEvent]
    next_cursor: str


async def list_calls(database: Database, tenant: str, query_params: CallQuery) -> Page[CallSummary]:
    """List a tenant's calls, newest first. Raises InvalidInput for an invalid cursor."""
    last_key = pagination.decode_cursor(query_params.cursor, int, str)
    newest = (calls.c.started_at.desc(), calls.c.id.desc())
    query = _select_calls().where(*_conditions(tenant, query_params)).order_by(*newest).limit(query_params.limit + 1)
    if last_key:
        query = query.where(tuple_(calls.c.started_at, calls.c.id) < last_key)
    async with database.read() as connection:
        rows = (await connection.execute(query)).all()
    return pagination.make_page(
        rows, query_params.limit, lambda row: CallSummary(**_summary_fields(row)), lambda row: (row.started_at, row.id)
    )


async def get_call(database: Database, tenant: str, call: str) -> CallSummary:
    """Return one call. Raises NotFound."""
    async with database.read() as connection:
        return CallSummary(**_summary_fields(await _get_row(connection, tenant, call)))


async def get_call_detail(database: Database, tenant: str, call: str, query_params: TimelineQuery) -> CallDetail:
    """Return one call with its timeline. Raises NotFound, and InvalidInput for an invalid cursor."""
    last_key = pagination.decode_cursor(query_params.cursor, int, int)
    async with database.read() as connection:
        row = await _get_row(connection, tenant, call)
        segments = await _list_segments(connection, tenant, call)
        rows = await _list_events(connection, tenant, call, last_key, query_params.limit + 1)
    timeline = pagination.make_page(rows, query_params.limit, _event_from_row, lambda row: (row.generation, row.seq))
    fields = _summary_fields(row)
    if segments:  # a live call may have been saved since its row was read: segments and totals must agree
        billed = sum(segment.billed_microseconds for segment in segments)
        fields |= {
            "billed_microseconds": billed,
            "billed_seconds": billed / 1e6,
            "cost_micro_usd": sum(part.cost_micro_usd for part in segments),
        }
    provider_usage = msgspec.json.decode(row.provider_usage or "{}", type=dict[Tier, ProviderUsageTotals])
    return CallDetail(
        **fields,
        segments=segments,
        provider_usage=provider_usage,
        events=timeline.items,
        next_cursor=timeline.next_cursor,
    )


async def get_call_log(database: Database, tenant: str, call: str) -> bytes:
    """Return the log that ``vocelio replay`` reads: JSON lines. Raises NotFound, also while the call is live."""
    order = (call_logs.c.generation, call_logs.c.revision)
    query = select(call_logs.c.log).where(call_logs.c.tenant_id == tenant, call_logs.c.call_id == call)
    async with database.read() as connection:
        ended = (await _get_row(connection, tenant, call)).ended_at is not None
        parts = (await connection.scalars(query.order_by(*order))).all() if ended else []
    if not parts:
        raise NotFound
    return await asyncio.to_thread(lambda: b"".join(map(zlib.decompress, parts)))  # a long call's log has 4 MB


def _select_calls() -> Select[Any]:
    """Select calls with the current node of live ones; for others the subquery is not evaluated."""
    node = case((calls.c.ended_at.is_(None), func.coalesce(current_node(), "")), else_="")
    return select(calls, node.label("node"))


def _conditions(tenant: str, query_params: CallQuery) -> list[ColumnElement[bool]]:
    filters = {
        calls.c.flow_id: query_params.flow,
        calls.c.number: query_params.number,
        calls.c.caller: query_params.caller,
        calls.c.outcome: query_params.outcome,
    }
    conditions = [
        calls.c.tenant_id == tenant,
        *(column == value for column, value in filters.items() if value is not None),
    ]
    if query_params.since is not None:
        conditions.append(calls.c.started_at >= query_params.since)
    if query_params.until is not None:
        conditions.append(calls.c.started_at < query_params.until)
    if query_params.status is not None:
        conditions.append(
            calls.c.ended_at.is_(None) if query_params.status == "live" else calls.c.ended_at.is_not(None)
        )
    return conditions


async def _get_row(connection: AsyncConnection, tenant: str, call: str) -> Row[Any]:
    result = await connection.execute(_select_calls().where(calls.c.tenant_id == tenant, calls.c.id == call))
    row: Row[Any] | None = result.first()
    if row is None:
        raise NotFound
    return row


async def _list_segments(connection: AsyncConnection, tenant: str, call: str) -> list[Segment]:
    query = select(usage).where(usage.c.tenant_id == tenant, usage.c.call_id == call)
    rows = await connection.execute(query.order_by(usage.c.segment).limit(MAX_SEGMENTS))
    return [Segment(row.tier, row.billed_microseconds, row.micro_usd_per_minute, row.cost_micro_usd) for row in rows]


async def _list_events(
    connection: AsyncConnection, tenant: str, call: str, after: tuple[Any, ...] | None, limit: int
) -> list[Row[Any]]:
    order = (call_events.c.generation, call_events.c.seq)
    query = select(call_events).where(call_events.c.tenant_id == tenant, call_events.c.call_id == call)
    if after:
        query = query.where(tuple_(*order) > tuple_(*(literal(part, BigInteger) for part in after)))
    return list(await connection.execute(query.order_by(*order).limit(limit)))


def _summary_fields(row: Row[Any]) -> dict[str, Any]:
    return {
        "id": row.id,
        "number": row.number,
        "caller": row.caller,
        "flow": row.flow_id,
        "version": row.version,
        "started_at": Instant(row.started_at),
        "ended_at": Instant.optional(row.ended_at),
        "outcome": row.outcome,
        "disposition": row.disposition,
        "department": row.department,
        "billed_microseconds": row.billed_microseconds,
        "billed_seconds": row.billed_microseconds / 1e6,
        "cost_micro_usd": row.cost_micro_usd,
        "generation": row.generation,
        "node": row.node,
    }


def _event_from_row(row: Row[Any]) -> TimelineEvent:
    return TimelineEvent(row.generation, row.seq, row.type, Instant(row.occurred_at), msgspec.json.decode(row.data))
