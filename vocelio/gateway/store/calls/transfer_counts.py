"""How many transfers a tenant has, counted from what all processes have kept: a restart forgets none.

A transfer is its event ``transfer.started``; it is under way while its call has not ended and no later stream has
begun. What was begun within the last fraction of a second may not be kept yet, so a limit can be passed by as many as
begin at the same moment, and by no more.
"""

from sqlalchemy import ColumnElement, Select, and_, case, func, select

from vocelio.gateway.model.directory import TransferCounts
from vocelio.gateway.store.db.database import Database
from vocelio.gateway.store.db.schema import call_events, calls, numbers

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


async def is_tenant_number(database: Database, tenant: str, number: str) -> bool:
    """Whether the number is one of the tenant's."""
    query = select(numbers.c.number).where(numbers.c.tenant_id == tenant, numbers.c.number == number)
    async with database.read() as connection:
        return (await connection.execute(query)).first() is not None
