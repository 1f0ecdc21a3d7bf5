"""Who renders which prompt: a row is claimed for a while, so that processes share the work and none is done twice.

What was claimed and not finished in time is taken over: a killed process costs no more than that while. A claim is
known by when it ends; whoever comes back after that changes nothing.

Prompts: the sentences to be rendered beforehand, and how far that is. Their sound is in the storage.

A row is one sentence of one tenant's in one voice, by the address of that content. It is due as long as it is not
ready, ever more seldom after failures, and is never given up while an active version says the sentence: ``wanted`` is
when one was last seen to.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import islice, pairwise
from typing import Any, Literal, NamedTuple

import msgspec
from sqlalchemy import ColumnElement, Row, and_, case, delete, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from vocelio.engine.voice import Voice
from vocelio.gateway.errors import NotFound
from vocelio.gateway.store.audit.actor import Actor, to_json
from vocelio.gateway.store.db.database import Database
from vocelio.gateway.store.db.schema import flow_versions, flows, prompts, tenants

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


State = Literal["pending", "ready", "failed"]

AT_ONCE = 200  # rows in one statement: its parameters are limited, and other writers wait
LATELY = 600_000_000  # microseconds: how far back the pace is looked for
PACE_OF = 20  # renderings that the pace is measured by
IDLE = 30_000_000  # microseconds: what lies longer between two renderings is no work


class Wanted(NamedTuple):
    """A sentence that is said in a voice, and the address of that."""

    id: str
    sentence: str
    voice: Voice


class Active(NamedTuple):
    """An active version of a flow; ``revision`` is the tenant's."""

    tenant: str
    flow: str
    version: int
    revision: int


class Standing(NamedTuple):
    """How far a sentence is. ``due`` is when it is tried again."""

    id: str
    sentence: str
    voice: Voice
    state: State
    problem: str
    attempts: int
    due: int | None


async def active(database: Database) -> list[Active]:
    """Every flow that answers calls, of all tenants that are not suspended."""
    columns = (flows.c.tenant_id, flows.c.id, flows.c.active, tenants.c.revision)
    query = select(*columns).join(tenants, tenants.c.id == flows.c.tenant_id)
    query = query.where(flows.c.active.is_not(None), ~tenants.c.suspended).order_by(flows.c.tenant_id, flows.c.id)
    async with database.reading() as connection:
        return [Active(*row) for row in await connection.execute(query)]


async def active_of(connection: AsyncConnection, tenant: str, flow: str) -> tuple[int, str] | None:
    """A flow's active version: its number, and what it is known by in logs and in memory. Raises NotFound."""
    pinned = (flow_versions.c.tenant_id == tenant, flow_versions.c.flow_id == flow)
    query = select(flows.c.active, flow_versions.c.content)
    query = query.outerjoin(flow_versions, and_(*pinned, flow_versions.c.number == flows.c.active))
    row = (await connection.execute(query.where(flows.c.tenant_id == tenant, flows.c.id == flow))).first()
    if row is None:
        raise NotFound
    return None if row.active is None else (row.active, row.content)


async def enter(database: Database, tenant: str, wanted: Sequence[Wanted], at: int) -> None:
    """An active version says these: what is new is to be rendered, in that order."""
    statement = database.upsert(prompts)
    newest = case((prompts.c.wanted > statement.excluded.wanted, prompts.c.wanted), else_=statement.excluded.wanted)
    statement = statement.on_conflict_do_update(index_elements=["tenant_id", "id"], set_={"wanted": newest})
    rows = [_new(tenant, one, at, at - place) for place, one in enumerate(reversed(wanted))]
    rows.sort(key=lambda row: str(row["id"]))  # who enters the same at the same time waits, and is not in the way
    for some in _some(rows):
        async with database.writing() as connection:
            await connection.execute(statement, some)


def _new(tenant: str, wanted: Wanted, at: int, due: int) -> dict[str, Any]:
    return {
        "tenant_id": tenant,
        "id": wanted.id,
        "tier": wanted.voice.tier,
        "voice": to_json(wanted.voice),
        "sentence": wanted.sentence,
        "characters": len(wanted.sentence),
        "state": "pending",
        "bytes": 0,
        "attempts": 0,
        "problem": "",
        "due": due,  # a microsecond apart: in the order in which calls come to them
        "wanted": at,
    }


async def ready(database: Database, tenant: str, ids: Sequence[str]) -> dict[str, int]:
    """Which of these are rendered, and how many bytes each has."""
    found: dict[str, int] = {}
    async with database.reading() as connection:
        for some in _some(ids):
            where = (prompts.c.tenant_id == tenant, prompts.c.id.in_(some), prompts.c.state == "ready")
            rows = await connection.execute(select(prompts.c.id, prompts.c.bytes).where(*where))
            found |= {row.id: row.bytes for row in rows}
    return found


async def standing(database: Database, tenant: str, ids: Sequence[str]) -> list[Standing]:
    """How far each of these is, as far as they are entered."""
    columns = [prompts.c[name] for name in Standing._fields]
    found = []
    async with database.reading() as connection:
        for some in _some(ids):
            query = select(*columns).where(prompts.c.tenant_id == tenant, prompts.c.id.in_(some))
            found += [Standing(*row)._replace(voice=voice_(row)) for row in await connection.execute(query)]
    return found


async def pace(database: Database, tenant: str, now: int) -> float | None:
    """Characters a second that a tenant's latest renderings came at, by all processes; None when there are too few."""
    where = (prompts.c.tenant_id == tenant, prompts.c.state == "ready", prompts.c.made > now - LATELY)
    query = select(prompts.c.made, prompts.c.characters).where(*where).order_by(prompts.c.made.desc()).limit(PACE_OF)
    async with database.reading() as connection:
        made = [(row.made, row.characters) for row in await connection.execute(query)]
    gaps = [(late - early, characters) for (late, characters), (early, _) in pairwise(made)]
    worked = [(gap, characters) for gap, characters in gaps if gap < IDLE]
    seconds = sum(gap for gap, _ in worked) / 1e6
    return sum(characters for _, characters in worked) / seconds if seconds else None


async def lost(database: Database, tenant: str, one: str, at: int) -> None:
    """What was rendered is not in the storage any more: it is to be rendered again."""
    where = (*is_(tenant, one), prompts.c.state == "ready")
    async with database.changing() as connection:
        await connection.execute(update(prompts).where(*where).values(state="pending", bytes=0, due=at))


async def retry(database: Database, actor: Actor, flow: str, ids: Sequence[str]) -> int:
    """What failed of these is tried now, as if for the first time: how many they are."""
    count = 0
    values = {"state": "pending", "attempts": 0, "due": actor.at}
    async with database.writing() as connection:
        for some in _some(sorted(ids)):
            where = (prompts.c.tenant_id == actor.tenant, prompts.c.id.in_(some), prompts.c.state == "failed")
            count += (await connection.execute(update(prompts).where(*where).values(values))).rowcount
        if count:
            await actor.record(connection, "prompts.retried", flow, after={"prompts": count})
    return count


# What nobody says any more


async def unwanted(database: Database, before: int, now: int, limit: int = AT_ONCE) -> list[tuple[str, str]]:
    """Rows, by tenant and address, that nobody has wanted since then, and nobody renders now."""
    where = (prompts.c.wanted < before, func.coalesce(prompts.c.claimed_until, 0) <= now)
    query = select(prompts.c.tenant_id, prompts.c.id).where(*where).order_by(prompts.c.wanted).limit(limit)
    async with database.reading() as connection:
        return [(row.tenant_id, row.id) for row in await connection.execute(query)]


async def forget(database: Database, tenant: str, ids: Sequence[str], before: int) -> None:
    """Remove these of a tenant's rows, where they are still unwanted."""
    for some in _some(sorted(ids)):
        where = (prompts.c.tenant_id == tenant, prompts.c.id.in_(some), prompts.c.wanted < before)
        async with database.writing() as connection:
            await connection.execute(delete(prompts).where(*where))


def _some(rows: Sequence[Any]) -> Iterator[Sequence[Any]]:
    ahead = iter(rows)
    while some := list(islice(ahead, AT_ONCE)):
        yield some


def is_(tenant: str, one: str) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    """The condition for one row."""
    return prompts.c.tenant_id == tenant, prompts.c.id == one


def voice_(row: Row[Any]) -> Voice:
    """A row's voice."""
    return msgspec.json.decode(row.voice, type=Voice)
