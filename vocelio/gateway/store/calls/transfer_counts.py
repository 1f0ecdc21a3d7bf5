"""How many transfers a tenant has, counted from what all processes have kept: a restart forgets none.

A transfer is its event ``transfer.started``; it is under way while its call has not ended and no later stream has
begun. What was begun within the last fraction of a second may not be kept yet, so a limit can be passed by as many as
begin at the same moment, and by no more.
"""

from sqlalchemy import ColumnElement, Select, and_, case, func, select

from vocelio.gateway.model.directory import Transfers
from vocelio.gateway.store.db.database import Database
from vocelio.gateway.store.db.schema import call_events, calls, numbers

LONGEST = 6 * 3_600_000_000  # microseconds: past it a transfer's call has been taken for lost


async def count(database: Database, tenant: str, since: int, now: int) -> Transfers:
    """How many were begun from ``since`` on, and are under way ``now``: microseconds UTC.

    By the index of a tenant's events by type and time: what is read grows with six hours of transfers.
    """
    async with database.reading() as connection:
        begun, under_way = (await connection.execute(_counts(tenant, since, now))).one()
    return Transfers(int(begun), int(under_way))


def _counts(tenant: str, since: int, now: int) -> Select[int, int]:
    event, call = call_events.c, calls.c
    joined = call_events.join(calls, and_(call.tenant_id == event.tenant_id, call.id == event.call_id))
    going = and_(call.ended.is_(None), call.generation == event.generation)
    where = (event.tenant_id == tenant, event.type == "transfer.started", event.at >= min(since, now - LONGEST))
    return select(_number(event.at >= since), _number(going)).select_from(joined).where(*where)


def _number(condition: ColumnElement[bool]) -> ColumnElement[int]:
    return func.coalesce(func.sum(case((condition, 1), else_=0)), 0)


async def owns(database: Database, tenant: str, number: str) -> bool:
    """Whether the number is one of the tenant's."""
    query = select(numbers.c.number).where(numbers.c.tenant_id == tenant, numbers.c.number == number)
    async with database.reading() as connection:
        return (await connection.execute(query)).first() is not None
