"""Live calls in the database: what monitors show, and the transfers that the limits count.

The rows of a call and of its timeline are committed together and each query is one statement, so what it returns of a
call is consistent.
"""

from collections.abc import Collection, Sequence
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Row, ScalarSelect, Select, and_, case, func, select, tuple_

from vocelio.gateway.model.directory import TransferCounts
from vocelio.gateway.store.db.database import Database
from vocelio.gateway.store.db.schema import call_events, calls

PAGE_SIZE = 200  # rows of a query: converting them takes some milliseconds, then calls get their turn on the event loop
MAX_COUNTS = 1_000  # groups of each kind, those with the most calls
MAX_LIVE_CALLS = 20_000  # of one snapshot; monitors see further calls by their events only
MAX_RECENT_CALLS = 5_000  # recently ended calls of one snapshot, the newest

_COLUMNS: Sequence[ColumnElement[Any]] = (
    calls.c.tenant_id,
    calls.c.id,
    calls.c.number,
    calls.c.caller,
    calls.c.flow_id,
    calls.c.version,
    calls.c.started_at,
    calls.c.ended_at,
    calls.c.outcome,
    calls.c.disposition,
    calls.c.department,
    calls.c.billed_microseconds,
    calls.c.cost_micro_usd,
    calls.c.generation,
)

CallKey = tuple[str, str]
"""Tenant and call id."""


class LiveCallRow(msgspec.Struct, frozen=True, kw_only=True):
    """A stored call. Instants are microseconds UTC; ``sequence`` is that of the newest event of its ``generation``."""

    tenant: str
    call: str
    number: str
    caller: str
    flow: str
    version: int | None
    started_at: int
    ended_at: int | None
    outcome: str
    disposition: str
    department: str
    billed_microseconds: int
    cost_micro_usd: int
    generation: int
    sequence: int
    node: str

    @property
    def key(self) -> CallKey:
        return self.tenant, self.call


def _is_event_of_call() -> ColumnElement[bool]:
    return (call_events.c.tenant_id == calls.c.tenant_id) & (call_events.c.call_id == calls.c.id)


def current_node() -> ScalarSelect[Any]:
    """Select the node that the flow entered last, correlated to a row of ``calls``."""
    entered = select(call_events.c.node).where(_is_event_of_call(), call_events.c.type == "node.entered")
    newest = entered.order_by(call_events.c.generation.desc(), call_events.c.seq.desc()).limit(1)
    return newest.correlate(calls).scalar_subquery()


def _last_event_sequence() -> ScalarSelect[Any]:
    newest = select(func.max(call_events.c.seq)).where(
        _is_event_of_call(), call_events.c.generation == calls.c.generation
    )
    return newest.correlate(calls).scalar_subquery()


def _select_calls() -> Select[Any]:
    """Select only the columns that are shown: the resume state of a live call has kilobytes."""
    sequence, node = func.coalesce(_last_event_sequence(), 0), func.coalesce(current_node(), "")
    return select(*_COLUMNS).add_columns(sequence.label("sequence"), node.label("node"))


async def list_live(database: Database, tenants: Collection[str] | None) -> list[LiveCallRow]:
    """List the live calls of these tenants, or with None of all. Raises DatabaseUnavailable."""
    order = tuple_(calls.c.tenant_id, calls.c.id)
    query = _select_calls().where(calls.c.ended_at.is_(None)).order_by(calls.c.tenant_id, calls.c.id).limit(PAGE_SIZE)
    if tenants is not None:
        query = query.where(calls.c.tenant_id.in_(tenants))
    listed: list[LiveCallRow] = []
    async with database.read() as connection:
        while len(listed) < MAX_LIVE_CALLS:
            page = query.where(order > listed[-1].key) if listed else query
            rows = (await connection.execute(page)).all()
            listed += map(_from_row, rows)
            if len(rows) < PAGE_SIZE:
                break
    return listed


async def list_recently_ended(database: Database, tenants: Collection[str] | None, since: int) -> list[LiveCallRow]:
    """List their newest calls that have ended ``since`` an instant (microseconds UTC). Raises DatabaseUnavailable."""
    query = select(calls.c.tenant_id, calls.c.id).where(calls.c.ended_at >= since).order_by(calls.c.ended_at.desc())
    if tenants is not None:
        query = query.where(calls.c.tenant_id.in_(tenants))
    async with database.read() as connection:
        keys = (await connection.execute(query.limit(MAX_RECENT_CALLS))).all()
    return await get_many(database, [(row.tenant_id, row.id) for row in keys])


async def get_many(database: Database, keys: Sequence[CallKey]) -> list[LiveCallRow]:
    """Return those of the calls that exist. Raises DatabaseUnavailable."""
    loaded: list[LiveCallRow] = []
    async with database.read() as connection:
        for start in range(0, len(keys), PAGE_SIZE):
            query = _select_calls().where(tuple_(calls.c.tenant_id, calls.c.id).in_(keys[start : start + PAGE_SIZE]))
            loaded += map(_from_row, (await connection.execute(query)).all())
    return loaded


class CallCount(msgspec.Struct, frozen=True):
    """A number of calls by tenant, flow or phone number."""

    name: str
    calls: int


async def count_live(database: Database, tenant: str) -> dict[str, list[CallCount]]:
    """Count the live calls of a tenant, or with an empty ``tenant`` of all, by ``tenant``, ``flow`` and ``number``.

    The groups with the most calls come first.
    """
    kinds = {"tenant": calls.c.tenant_id, "flow": calls.c.flow_id, "number": calls.c.number}
    counts = {}
    async with database.read() as connection:
        for kind, column in kinds.items():
            names = (
                (column,) if kind != "flow" or tenant else (calls.c.tenant_id, column)
            )  # flow ids are unique per tenant
            query = select(*names, func.count().label("calls")).where(calls.c.ended_at.is_(None)).group_by(*names)
            if tenant:
                query = query.where(calls.c.tenant_id == tenant)
            rows = (await connection.execute(query.order_by(func.count().desc(), *names).limit(MAX_COUNTS))).all()
            counts[kind] = [CallCount("/".join(row[:-1]), row.calls) for row in rows]
    return counts


async def count_in_progress(database: Database, now: int) -> int:
    """Count the calls of all tenants that have not ended and are not overdue. Raises DatabaseUnavailable."""
    query = select(func.count()).select_from(calls).where(calls.c.ended_at.is_(None), calls.c.due_at > now)
    async with database.read() as connection:
        return await connection.scalar(query) or 0


def _from_row(row: Row[Any]) -> LiveCallRow:
    return LiveCallRow(
        tenant=row.tenant_id,
        call=row.id,
        number=row.number,
        caller=row.caller,
        flow=row.flow_id,
        version=row.version,
        started_at=row.started_at,
        ended_at=row.ended_at,
        outcome=row.outcome,
        disposition=row.disposition,
        department=row.department,
        billed_microseconds=row.billed_microseconds,
        cost_micro_usd=row.cost_micro_usd,
        generation=row.generation,
        sequence=row.sequence,
        node=row.node,
    )


MAX_TRANSFER_AGE_MICROSECONDS = 6 * 3_600_000_000  # by then the transfer's call counts as lost


async def count_transfers(database: Database, tenant: str, since: int, now: int) -> TransferCounts:
    """Count the transfers that were started from ``since`` on, and those that are active ``now`` (microseconds UTC).

    A transfer is its event ``transfer.started``. It is active while its call has not ended and no later stream has
    started. Events of the last fraction of a second may not be stored yet, so a limit can be exceeded by as many
    transfers as start at the same moment. The index on tenant, type and time bounds the query to six hours of
    transfers.
    """
    async with database.read() as connection:
        started, active = (await connection.execute(_count_query(tenant, since, now))).one()
    return TransferCounts(int(started), int(active))


def _count_query(tenant: str, since: int, now: int) -> Select[int, int]:
    event, call = call_events.c, calls.c
    joined = call_events.join(calls, and_(call.tenant_id == event.tenant_id, call.id == event.call_id))
    is_active = and_(call.ended_at.is_(None), call.generation == event.generation)
    where = (
        event.tenant_id == tenant,
        event.type == "transfer.started",
        event.occurred_at >= min(since, now - MAX_TRANSFER_AGE_MICROSECONDS),
    )
    return select(_count_where(event.occurred_at >= since), _count_where(is_active)).select_from(joined).where(*where)


def _count_where(condition: ColumnElement[bool]) -> ColumnElement[int]:
    return func.coalesce(func.sum(case((condition, 1), else_=0)), 0)
