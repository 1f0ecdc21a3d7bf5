"""Who renders which prompt: a row is claimed for a while, so that processes share the work and none is done twice.

What was claimed and not finished in time is taken over: a killed process costs no more than that while. A claim is
known by when it ends; whoever comes back after that changes nothing.
"""

from collections.abc import Collection, Iterable
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from vocelio.engine.voice import Voice
from vocelio.gateway.store.database import Database
from vocelio.gateway.store.prompts import is_, voice_
from vocelio.gateway.store.schema import prompts

CANDIDATES = 5  # of which a process tries to claim one, while others do the same


class Task(NamedTuple):
    """A row that is ours until ``claimed_until``; ``attempts`` have failed."""

    tenant: str
    id: str
    sentence: str
    voice: Voice
    attempts: int
    claimed_until: int


async def take(database: Database, now: int, until: int, after: str, without: Collection[str] = ()) -> Task | None:
    """Claim a row that is due and nobody's: of the tenant next behind ``after``, so that all have their turn.

    Rows of the tiers ``without`` are left alone.
    """
    free = (
        prompts.c.due <= now,
        or_(prompts.c.claimed_until.is_(None), prompts.c.claimed_until <= now),
        prompts.c.tier.not_in(without),
    )
    async with database.reading() as connection:
        tenant = await _next_tenant(connection, free, after)
        query = select(prompts.c.id).where(prompts.c.tenant_id == tenant, *free).order_by(prompts.c.due)
        ids = (await connection.execute(query.limit(CANDIDATES))).scalars().all() if tenant else []
    for one in ids:
        statement = update(prompts).where(*is_(str(tenant), one), *free).values(claimed_until=until).returning(prompts)
        async with database.writing() as connection:
            row = (await connection.execute(statement)).first()
        if row is not None:
            return Task(row.tenant_id, row.id, row.sentence, voice_(row), row.attempts, row.claimed_until)
    return None


async def _next_tenant(connection: AsyncConnection, free: Iterable[ColumnElement[bool]], after: str) -> str | None:
    query = select(prompts.c.tenant_id).where(*free).order_by(prompts.c.tenant_id).limit(1)
    tenant: str | None = await connection.scalar(query.where(prompts.c.tenant_id > after))
    return tenant or await connection.scalar(query)


async def finish(database: Database, task: Task, size: int, at: int) -> bool:
    """It is rendered, and its sound is kept. False when the claim was lost."""
    values = {"state": "ready", "bytes": size, "made": at, "due": None, "attempts": 0, "problem": ""}
    return await _conclude(database, task, **values)


async def fail(database: Database, task: Task, problem: str, due: int) -> bool:
    """It could not be rendered, and is to be tried again at ``due``. False when the claim was lost."""
    return await _conclude(database, task, state="failed", problem=problem, attempts=task.attempts + 1, due=due)


async def give_back(database: Database, task: Task, due: int | None = None) -> None:
    """It was not even tried: others may, at once or when it is ``due``."""
    await _conclude(database, task, **({} if due is None else {"due": due}))


async def _conclude(database: Database, task: Task, **values: Any) -> bool:
    where = (*is_(task.tenant, task.id), prompts.c.claimed_until == task.claimed_until)
    async with database.changing() as connection:
        statement = update(prompts).where(*where).values(claimed_until=None, **values)
        return bool((await connection.execute(statement)).rowcount)
