"""Calls as monitors see them, by the store, which is the authority: where each is, and by which event that is known.

A call's row and its timeline are written in one commit, and each of these queries is one statement: what it gives of a
call belongs together.

How many transfers a tenant has, counted from what all processes have kept: a restart forgets none.

A transfer is its event ``transfer.started``; it is under way while its call has not ended and no later stream has
begun. What was begun within the last fraction of a second may not be kept yet, so a limit can be passed by as many as
begin at the same moment, and by no more.
"""

from collections.abc import Collection, Sequence
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Row, ScalarSelect, Select, and_, case, func, select, tuple_

from vocelio.gateway.model.directory import TransferCounts
from vocelio.gateway.store.db.database import Database
from vocelio.gateway.store.db.schema import call_events, calls

PAGE_SIZE = 200  # rows of a query: what is made of them takes some milliseconds, and then calls have their turn
MAX_COUNTS = 1_000  # names of each kind, those with the most calls
MAX_LIVE_CALLS = 20_000  # calls of one picture; of more, the rest comes with its events only
MAX_RECENT_CALLS = 5_000  # calls that have ended of late, the newest

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
"""Tenant and call."""


class LiveCallRow(msgspec.Struct, frozen=True, kw_only=True):
    """A stored call. Instants are microseconds UTC; ``sequence`` is that of the newest event of ``generation``."""

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
        """Tenant and call."""
        return self.tenant, self.call


def _is_event_of_call() -> ColumnElement[bool]:
    return (call_events.c.tenant_id == calls.c.tenant_id) & (call_events.c.call_id == calls.c.id)


def current_node() -> ScalarSelect[Any]:
    """Of a row of ``calls``: the node that the flow entered last."""
    entered = select(call_events.c.node).where(_is_event_of_call(), call_events.c.type == "node.entered")
    newest = entered.order_by(call_events.c.generation.desc(), call_events.c.seq.desc()).limit(1)
    return newest.correlate(calls).scalar_subquery()


def _last_event_sequence() -> ScalarSelect[Any]:
    newest = select(func.max(call_events.c.seq)).where(
        _is_event_of_call(), call_events.c.generation == calls.c.generation
    )
    return newest.correlate(calls).scalar_subquery()


def _select_calls() -> Select[Any]:
    """No column besides those that are shown: a live call's state has kilobytes, and is of no use here."""
    sequence, node = func.coalesce(_last_event_sequence(), 0), func.coalesce(current_node(), "")
    return select(*_COLUMNS).add_columns(sequence.label("sequence"), node.label("node"))


async def list_live(database: Database, tenants: Collection[str] | None) -> list[LiveCallRow]:
    """The calls of those tenants that go on, or everybody's. Raises StoreUnavailable."""
    order = tuple_(calls.c.tenant_id, calls.c.id)
    query = _select_calls().where(calls.c.ended_at.is_(None)).order_by(calls.c.tenant_id, calls.c.id).limit(PAGE_SIZE)
    if tenants is not None:
        query = query.where(calls.c.tenant_id.in_(tenants))
    found: list[LiveCallRow] = []
    async with database.read() as connection:
        while len(found) < MAX_LIVE_CALLS:
            page = query.where(order > found[-1].key) if found else query
            rows = (await connection.execute(page)).all()
            found += map(_from_row, rows)
            if len(rows) < PAGE_SIZE:
                break
    return found


async def list_recently_ended(database: Database, tenants: Collection[str] | None, since: int) -> list[LiveCallRow]:
    """Their calls that have ended ``since`` that instant (microseconds UTC), the newest. Raises StoreUnavailable."""
    query = select(calls.c.tenant_id, calls.c.id).where(calls.c.ended_at >= since).order_by(calls.c.ended_at.desc())
    if tenants is not None:
        query = query.where(calls.c.tenant_id.in_(tenants))
    async with database.read() as connection:
        keys = (await connection.execute(query.limit(MAX_RECENT_CALLS))).all()
    return await get_many(database, [(row.tenant_id, row.id) for row in keys])


async def get_many(database: Database, keys: Sequence[CallKey]) -> list[LiveCallRow]:
    """Those calls, as far as there are such. Raises StoreUnavailable."""
    found: list[LiveCallRow] = []
    async with database.read() as connection:
        for place in range(0, len(keys), PAGE_SIZE):
            query = _select_calls().where(tuple_(calls.c.tenant_id, calls.c.id).in_(keys[place : place + PAGE_SIZE]))
            found += map(_from_row, (await connection.execute(query)).all())
    return found


class CallCount(msgspec.Struct, frozen=True):
    """So many calls by that name."""

    name: str
    calls: int


async def count_live(database: Database, tenant: str) -> dict[str, list[CallCount]]:
    """How many calls go on of the tenant, or of everybody: by ``tenant``, ``flow`` and ``number``, the most first."""
    kinds = {"tenant": calls.c.tenant_id, "flow": calls.c.flow_id, "number": calls.c.number}
    made = {}
    async with database.read() as connection:
        for kind, column in kinds.items():
            names = (column,) if kind != "flow" or tenant else (calls.c.tenant_id, column)  # two may have one name
            query = select(*names, func.count().label("calls")).where(calls.c.ended_at.is_(None)).group_by(*names)
            if tenant:
                query = query.where(calls.c.tenant_id == tenant)
            rows = (await connection.execute(query.order_by(func.count().desc(), *names).limit(MAX_COUNTS))).all()
            made[kind] = [CallCount("/".join(row[:-1]), row.calls) for row in rows]
    return made


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


MAX_TRANSFER_AGE_MICROSECONDS = 6 * 3_600_000_000  # microseconds: past it a transfer's call has been taken for lost


async def count_transfers(database: Database, tenant: str, since: int, now: int) -> TransferCounts:
    """How many were begun from ``since`` on, and are under way ``now``: microseconds UTC.

    By the index of a tenant's events by type and time: what is read grows with six hours of transfers.
    """
    async with database.read() as connection:
        begun, under_way = (await connection.execute(_count_query(tenant, since, now))).one()
    return TransferCounts(int(begun), int(under_way))


def _count_query(tenant: str, since: int, now: int) -> Select[int, int]:
    event, call = call_events.c, calls.c
    joined = call_events.join(calls, and_(call.tenant_id == event.tenant_id, call.id == event.call_id))
    going = and_(call.ended_at.is_(None), call.generation == event.generation)
    where = (
        event.tenant_id == tenant,
        event.type == "transfer.started",
        event.occurred_at >= min(since, now - MAX_TRANSFER_AGE_MICROSECONDS),
    )
    return select(_count_where(event.occurred_at >= since), _count_where(going)).select_from(joined).where(*where)


def _count_where(condition: ColumnElement[bool]) -> ColumnElement[int]:
    return func.coalesce(func.sum(case((condition, 1), else_=0)), 0)
