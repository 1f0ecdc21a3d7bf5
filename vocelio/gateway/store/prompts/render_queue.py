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
from vocelio.gateway.store.audit import Actor, dump_json
from vocelio.gateway.store.db.database import Database
from vocelio.gateway.store.db.schema import flow_versions, flows, prompts, tenants

MAX_CANDIDATES = 5  # of which a process tries to claim one, while others do the same


class RenderTask(NamedTuple):
    """A row that is ours until ``claimed_until``; ``attempts`` have failed."""

    tenant: str
    id: str
    sentence: str
    voice: Voice
    attempts: int
    lease_until: int


async def claim_next(
    database: Database, now: int, lease_until: int, after_tenant: str, excluded_tiers: Collection[str] = ()
) -> RenderTask | None:
    """Claim a row that is due and nobody's: of the tenant next behind ``after``, so that all have their turn.

    Rows of the tiers ``without`` are left alone.
    """
    free = (
        prompts.c.due_at <= now,
        or_(prompts.c.lease_until.is_(None), prompts.c.lease_until <= now),
        prompts.c.tier.not_in(excluded_tiers),
    )
    async with database.read() as connection:
        tenant = await _next_tenant(connection, free, after_tenant)
        query = select(prompts.c.id).where(prompts.c.tenant_id == tenant, *free).order_by(prompts.c.due_at)
        ids = (await connection.execute(query.limit(MAX_CANDIDATES))).scalars().all() if tenant else []
    for one in ids:
        statement = (
            update(prompts)
            .where(*key_filter(str(tenant), one), *free)
            .values(lease_until=lease_until)
            .returning(prompts)
        )
        async with database.transaction() as connection:
            row = (await connection.execute(statement)).first()
        if row is not None:
            return RenderTask(
                row.tenant_id, row.id, row.sentence, decode_voice(row), row.failed_attempts, row.lease_until
            )
    return None


async def _next_tenant(
    connection: AsyncConnection, claimable: Iterable[ColumnElement[bool]], after_tenant: str
) -> str | None:
    query = select(prompts.c.tenant_id).where(*claimable).order_by(prompts.c.tenant_id).limit(1)
    tenant: str | None = await connection.scalar(query.where(prompts.c.tenant_id > after_tenant))
    return tenant or await connection.scalar(query)


async def finish(database: Database, task: RenderTask, size_bytes: int, now: int) -> bool:
    """It is rendered, and its sound is kept. False when the claim was lost."""
    values = {
        "state": "ready",
        "size_bytes": size_bytes,
        "rendered_at": now,
        "due_at": None,
        "failed_attempts": 0,
        "error": "",
    }
    return await _update_leased(database, task, **values)


async def fail(database: Database, task: RenderTask, error: str, due_at: int) -> bool:
    """It could not be rendered, and is to be tried again at ``due``. False when the claim was lost."""
    return await _update_leased(
        database, task, state="failed", error=error, failed_attempts=task.attempts + 1, due_at=due_at
    )


async def release(database: Database, task: RenderTask, due_at: int | None = None) -> None:
    """It was not even tried: others may, at once or when it is ``due``."""
    await _update_leased(database, task, **({} if due_at is None else {"due_at": due_at}))


async def _update_leased(database: Database, task: RenderTask, **values: Any) -> bool:
    where = (*key_filter(task.tenant, task.id), prompts.c.lease_until == task.lease_until)
    async with database.autocommit() as connection:
        statement = update(prompts).where(*where).values(lease_until=None, **values)
        return bool((await connection.execute(statement)).rowcount)


PromptState = Literal["pending", "ready", "failed"]

STATEMENT_BATCH_SIZE = 200  # rows in one statement: its parameters are limited, and other writers wait
THROUGHPUT_WINDOW_MICROSECONDS = 600_000_000  # microseconds: how far back the pace is looked for
MAX_THROUGHPUT_SAMPLES = 20  # renderings that the pace is measured by
MIN_IDLE_MICROSECONDS = 30_000_000  # microseconds: what lies longer between two renderings is no work


class PromptRef(NamedTuple):
    """A sentence that is said in a voice, and the address of that."""

    id: str
    sentence: str
    voice: Voice


class ActiveFlow(NamedTuple):
    """An active version of a flow; ``revision`` is the tenant's."""

    tenant: str
    flow: str
    version: int
    revision: int


class PromptStatus(NamedTuple):
    """How far a sentence is. ``due_at`` is when it is tried again."""

    id: str
    sentence: str
    voice: Voice
    state: PromptState
    error: str
    failed_attempts: int
    due_at: int | None


async def list_active_flows(database: Database) -> list[ActiveFlow]:
    """Every flow that answers calls, of all tenants that are not suspended."""
    columns = (flows.c.tenant_id, flows.c.id, flows.c.active_version, tenants.c.revision)
    query = select(*columns).join(tenants, tenants.c.id == flows.c.tenant_id)
    query = query.where(flows.c.active_version.is_not(None), ~tenants.c.suspended).order_by(
        flows.c.tenant_id, flows.c.id
    )
    async with database.read() as connection:
        return [ActiveFlow(*row) for row in await connection.execute(query)]


async def get_active_version(connection: AsyncConnection, tenant: str, flow: str) -> tuple[int, str] | None:
    """A flow's active version: its number, and what it is known by in logs and in memory. Raises NotFound."""
    pinned = (flow_versions.c.tenant_id == tenant, flow_versions.c.flow_id == flow)
    query = select(flows.c.active_version, flow_versions.c.content_hash)
    query = query.outerjoin(flow_versions, and_(*pinned, flow_versions.c.number == flows.c.active_version))
    row = (await connection.execute(query.where(flows.c.tenant_id == tenant, flows.c.id == flow))).first()
    if row is None:
        raise NotFound
    return None if row.active_version is None else (row.active_version, row.content_hash)


async def enqueue(database: Database, tenant: str, refs: Sequence[PromptRef], at: int) -> None:
    """An active version says these: what is new is to be rendered, in that order."""
    statement = database.upsert(prompts)
    newest = case(
        (prompts.c.last_referenced_at > statement.excluded.last_referenced_at, prompts.c.last_referenced_at),
        else_=statement.excluded.last_referenced_at,
    )
    statement = statement.on_conflict_do_update(index_elements=["tenant_id", "id"], set_={"last_referenced_at": newest})
    rows = [_new_row(tenant, one, at, at - place) for place, one in enumerate(reversed(refs))]
    rows.sort(key=lambda row: str(row["id"]))  # who enters the same at the same time waits, and is not in the way
    for some in _batches(rows):
        async with database.transaction() as connection:
            await connection.execute(statement, some)


def _new_row(tenant: str, ref: PromptRef, at: int, due: int) -> dict[str, Any]:
    return {
        "tenant_id": tenant,
        "id": ref.id,
        "tier": ref.voice.tier,
        "voice": dump_json(ref.voice),
        "sentence": ref.sentence,
        "characters": len(ref.sentence),
        "state": "pending",
        "size_bytes": 0,
        "failed_attempts": 0,
        "error": "",
        "due_at": due,  # a microsecond apart: in the order in which calls come to them
        "last_referenced_at": at,
    }


async def get_ready_sizes(database: Database, tenant: str, ids: Sequence[str]) -> dict[str, int]:
    """Which of these are rendered, and how many bytes each has."""
    found: dict[str, int] = {}
    async with database.read() as connection:
        for some in _batches(ids):
            where = (prompts.c.tenant_id == tenant, prompts.c.id.in_(some), prompts.c.state == "ready")
            rows = await connection.execute(select(prompts.c.id, prompts.c.size_bytes).where(*where))
            found |= {row.id: row.size_bytes for row in rows}
    return found


async def get_statuses(database: Database, tenant: str, ids: Sequence[str]) -> list[PromptStatus]:
    """How far each of these is, as far as they are entered."""
    columns = [prompts.c[name] for name in PromptStatus._fields]
    found = []
    async with database.read() as connection:
        for some in _batches(ids):
            query = select(*columns).where(prompts.c.tenant_id == tenant, prompts.c.id.in_(some))
            found += [PromptStatus(*row)._replace(voice=decode_voice(row)) for row in await connection.execute(query)]
    return found


async def measure_throughput(database: Database, tenant: str, now: int) -> float | None:
    """Characters a second that a tenant's latest renderings came at, by all processes; None when there are too few."""
    where = (
        prompts.c.tenant_id == tenant,
        prompts.c.state == "ready",
        prompts.c.rendered_at > now - THROUGHPUT_WINDOW_MICROSECONDS,
    )
    query = (
        select(prompts.c.rendered_at, prompts.c.characters)
        .where(*where)
        .order_by(prompts.c.rendered_at.desc())
        .limit(MAX_THROUGHPUT_SAMPLES)
    )
    async with database.read() as connection:
        made = [(row.rendered_at, row.characters) for row in await connection.execute(query)]
    gaps = [(late - early, characters) for (late, characters), (early, _) in pairwise(made)]
    worked = [(gap, characters) for gap, characters in gaps if gap < MIN_IDLE_MICROSECONDS]
    seconds = sum(gap for gap, _ in worked) / 1e6
    return sum(characters for _, characters in worked) / seconds if seconds else None


async def requeue_missing(database: Database, tenant: str, prompt_id: str, at: int) -> None:
    """What was rendered is not in the storage any more: it is to be rendered again."""
    where = (*key_filter(tenant, prompt_id), prompts.c.state == "ready")
    async with database.autocommit() as connection:
        await connection.execute(update(prompts).where(*where).values(state="pending", size_bytes=0, due_at=at))


async def retry_failed(database: Database, actor: Actor, flow: str, ids: Sequence[str]) -> int:
    """What failed of these is tried now, as if for the first time: how many they are."""
    count = 0
    values = {"state": "pending", "failed_attempts": 0, "due_at": actor.now}
    async with database.transaction() as connection:
        for some in _batches(sorted(ids)):
            where = (prompts.c.tenant_id == actor.tenant, prompts.c.id.in_(some), prompts.c.state == "failed")
            count += (await connection.execute(update(prompts).where(*where).values(values))).rowcount
        if count:
            await actor.audit(connection, "prompts.retried", flow, after={"prompts": count})
    return count


# What nobody says any more


async def find_garbage(
    database: Database, before: int, now: int, limit: int = STATEMENT_BATCH_SIZE
) -> list[tuple[str, str]]:
    """Rows, by tenant and address, that nobody has wanted since then, and nobody renders now."""
    where = (prompts.c.last_referenced_at < before, func.coalesce(prompts.c.lease_until, 0) <= now)
    query = select(prompts.c.tenant_id, prompts.c.id).where(*where).order_by(prompts.c.last_referenced_at).limit(limit)
    async with database.read() as connection:
        return [(row.tenant_id, row.id) for row in await connection.execute(query)]


async def delete_garbage(database: Database, tenant: str, ids: Sequence[str], before: int) -> None:
    """Remove these of a tenant's rows, where they are still unwanted."""
    for some in _batches(sorted(ids)):
        where = (prompts.c.tenant_id == tenant, prompts.c.id.in_(some), prompts.c.last_referenced_at < before)
        async with database.transaction() as connection:
            await connection.execute(delete(prompts).where(*where))


def _batches(rows: Sequence[Any]) -> Iterator[Sequence[Any]]:
    ahead = iter(rows)
    while some := list(islice(ahead, STATEMENT_BATCH_SIZE)):
        yield some


def key_filter(tenant: str, prompt_id: str) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    """The condition for one row."""
    return prompts.c.tenant_id == tenant, prompts.c.id == prompt_id


def decode_voice(row: Row[Any]) -> Voice:
    """A row's voice."""
    return msgspec.json.decode(row.voice, type=Voice)
