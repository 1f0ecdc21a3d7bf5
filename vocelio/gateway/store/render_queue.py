"""Render queue: the sentences to be rendered, their state, and their leases. The audio is in the object storage.

A row is one sentence of a tenant in one voice, identified by the cache key of its audio. It is due as long as it is not
ready, with growing delays after failures, and is not given up while an active version uses it: ``last_referenced_at``
is when one was last found to do so.

An attempt is counted when it begins, so that a sentence on which processes die is given up after
MAX_UNFINISHED_ATTEMPTS, although nobody lives to record the failure.
"""

import logging
from collections.abc import Collection, Iterator, Sequence
from itertools import islice, pairwise
from typing import Any, Literal, NamedTuple

import msgspec
from sqlalchemy import ColumnElement, Row, and_, case, delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from vocelio.engine.voice import Voice
from vocelio.gateway.aio.backoff import Backoff
from vocelio.gateway.errors import NotFound
from vocelio.gateway.store.audit import Actor, dump_json
from vocelio.gateway.store.db.database import Database
from vocelio.gateway.store.db.schema import flow_versions, flows, prompts, tenants
from vocelio.gateway.store.leases import Lease, LeaseQueue

LOG = logging.getLogger(__name__)

PromptState = Literal["pending", "ready", "failed"]

STATEMENT_BATCH_SIZE = 200  # rows in one statement: its parameters are limited, and other writers wait
THROUGHPUT_WINDOW_MICROSECONDS = 600_000_000  # of renderings by which the pace is measured
MAX_THROUGHPUT_SAMPLES = 20  # of these
MAX_UNFINISHED_ATTEMPTS = 5  # in succession; an outage of the database, or a process killed from outside, takes one
GIVEN_UP_ERROR = f"The last {MAX_UNFINISHED_ATTEMPTS} processes that rendered the sentence ended before it was done."
MIN_IDLE_MICROSECONDS = 30_000_000  # a longer time between two renderings counts as idle, not as work

_QUEUE = LeaseQueue(prompts, "id")
_LESS_THIS_ATTEMPT = prompts.c.unfinished_attempts - 1


class PromptRef(NamedTuple):
    """A sentence in a voice; ``id`` is the cache key of its audio."""

    id: str
    sentence: str
    voice: Voice


class ActiveFlow(NamedTuple):
    """An active version of a flow, and the revision of its tenant."""

    tenant: str
    flow: str
    version: int
    tenant_revision: int


class PromptStatus(NamedTuple):
    """The state of a sentence; ``due_at`` is the time of the next attempt (microseconds UTC)."""

    id: str
    sentence: str
    voice: Voice
    state: PromptState
    error: str
    failed_attempts: int
    due_at: int | None


class RenderTask(NamedTuple):
    """A leased sentence."""

    tenant: str
    id: str
    sentence: str
    voice: Voice
    failed_attempts: int
    lease: Lease


# Leases


async def lease_next(
    database: Database,
    owner: str,
    now: int,
    lease_until: int,
    after_tenant: str,
    excluded_tiers: Collection[str] = (),
) -> RenderTask | None:
    """Lease a due sentence of the tenant next after ``after_tenant``, so that tenants take turns.

    Sentences with too many unfinished attempts are marked failed instead.
    """
    is_tier_included = prompts.c.tier.not_in(excluded_tiers)
    attempts = prompts.c.unfinished_attempts + 1
    while True:
        async with database.read() as connection:
            tenant = await _next_tenant(connection, and_(_QUEUE.is_available(now), is_tier_included), after_tenant)
        if tenant is None:
            return None
        conditions = (prompts.c.tenant_id == tenant, is_tier_included)
        rows = await _QUEUE.lease_due(database, owner, now, lease_until, 1, *conditions, unfinished_attempts=attempts)
        if not rows:
            return None
        task = _to_task(rows[0])
        if rows[0].unfinished_attempts <= MAX_UNFINISHED_ATTEMPTS:
            return task
        await _give_up(database, task)


async def _give_up(database: Database, task: RenderTask) -> None:
    """Mark a sentence failed for good: until it is asked for again with ``retry_failed``."""
    LOG.error("tenant %s: prompt %s is given up: %s", task.tenant, task.id, GIVEN_UP_ERROR)
    values = {"state": "failed", "error": GIVEN_UP_ERROR, "due_at": None, "unfinished_attempts": 0}
    await _QUEUE.finish(database, task.lease, **values, failed_attempts=task.failed_attempts + MAX_UNFINISHED_ATTEMPTS)


async def _next_tenant(connection: AsyncConnection, is_available: ColumnElement[bool], after_tenant: str) -> str | None:
    query = select(prompts.c.tenant_id).where(is_available).order_by(prompts.c.tenant_id).limit(1)
    tenant: str | None = await connection.scalar(query.where(prompts.c.tenant_id > after_tenant))
    return tenant or await connection.scalar(query)


async def finish(database: Database, task: RenderTask, size_bytes: int, now: int) -> bool:
    """Mark a sentence ready, its audio being stored. Return False if the lease was lost."""
    values = {"state": "ready", "size_bytes": size_bytes, "rendered_at": now, "unfinished_attempts": 0}
    return await _QUEUE.finish(database, task.lease, **values, due_at=None, failed_attempts=0, error="")


async def fail(database: Database, task: RenderTask, error: str, now: int, backoff: Backoff) -> bool:
    """Record a failure and schedule the next attempt. Return False if the lease was lost."""
    counts = {"failed_attempts": task.failed_attempts + 1, "unfinished_attempts": 0}
    return await _QUEUE.fail(database, task.lease, error=error, now=now, backoff=backoff, state="failed", **counts)


async def release(database: Database, task: RenderTask, due_at: int | None = None) -> None:
    """Give up a lease without an attempt; the sentence is due at once, or at ``due_at``."""
    due = {} if due_at is None else {"due_at": due_at}
    await _QUEUE.release(database, task.lease, unfinished_attempts=_LESS_THIS_ATTEMPT, **due)


async def release_all(database: Database, owner: str) -> None:
    """Give up all leases of a worker without an attempt."""
    await _QUEUE.release_all(database, owner, unfinished_attempts=_LESS_THIS_ATTEMPT)


def _to_task(row: Row[Any]) -> RenderTask:
    lease = Lease(row.tenant_id, row.id, row.lease_owner)
    return RenderTask(row.tenant_id, row.id, row.sentence, _decode_voice(row), row.failed_attempts, lease)


# State


async def list_active_flows(database: Database) -> list[ActiveFlow]:
    """List the flows with an active version of all tenants that are not suspended."""
    columns = (flows.c.tenant_id, flows.c.id, flows.c.active_version, tenants.c.revision)
    query = select(*columns).join(tenants, tenants.c.id == flows.c.tenant_id)
    query = query.where(flows.c.active_version.is_not(None), ~tenants.c.suspended).order_by(
        flows.c.tenant_id, flows.c.id
    )
    async with database.read() as connection:
        return [ActiveFlow(*row) for row in await connection.execute(query)]


async def get_active_version(connection: AsyncConnection, tenant: str, flow: str) -> tuple[int, str] | None:
    """Return the number and the content hash of a flow's active version. Raises NotFound."""
    is_version = (flow_versions.c.tenant_id == tenant, flow_versions.c.flow_id == flow)
    query = select(flows.c.active_version, flow_versions.c.content_hash)
    query = query.outerjoin(flow_versions, and_(*is_version, flow_versions.c.number == flows.c.active_version))
    row = (await connection.execute(query.where(flows.c.tenant_id == tenant, flows.c.id == flow))).first()
    if row is None:
        raise NotFound
    return None if row.active_version is None else (row.active_version, row.content_hash)


async def enqueue(database: Database, tenant: str, refs: Sequence[PromptRef], now: int) -> None:
    """Note that an active version uses these sentences; new ones become due, in this order."""
    statement = database.upsert(prompts)
    new, stored = statement.excluded.last_referenced_at, prompts.c.last_referenced_at
    newest = case((stored > new, stored), else_=new)
    statement = statement.on_conflict_do_update(index_elements=["tenant_id", "id"], set_={"last_referenced_at": newest})
    rows = [_new_row(tenant, ref, now, now - index) for index, ref in enumerate(reversed(refs))]
    rows.sort(key=lambda row: str(row["id"]))  # the same order in every process, so that none deadlocks
    for batch in _batches(rows):
        async with database.transaction() as connection:
            await connection.execute(statement, batch)


def _new_row(tenant: str, ref: PromptRef, now: int, due_at: int) -> dict[str, Any]:
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
        "unfinished_attempts": 0,
        "error": "",
        "due_at": due_at,  # one microsecond apart: in the order in which calls need them
        "last_referenced_at": now,
    }


async def get_ready_sizes(database: Database, tenant: str, ids: Sequence[str]) -> dict[str, int]:
    """Return the size in bytes of each of these sentences that is rendered."""
    sizes: dict[str, int] = {}
    async with database.read() as connection:
        for batch in _batches(ids):
            where = (prompts.c.tenant_id == tenant, prompts.c.id.in_(batch), prompts.c.state == "ready")
            rows = await connection.execute(select(prompts.c.id, prompts.c.size_bytes).where(*where))
            sizes |= {row.id: row.size_bytes for row in rows}
    return sizes


async def get_statuses(database: Database, tenant: str, ids: Sequence[str]) -> list[PromptStatus]:
    """Return the status of each of these sentences that is in the queue."""
    columns = [prompts.c[name] for name in PromptStatus._fields]
    statuses: list[PromptStatus] = []
    async with database.read() as connection:
        for batch in _batches(ids):
            query = select(*columns).where(prompts.c.tenant_id == tenant, prompts.c.id.in_(batch))
            rows = await connection.execute(query)
            statuses += [PromptStatus(*row)._replace(voice=_decode_voice(row)) for row in rows]
    return statuses


async def measure_throughput(database: Database, tenant: str, now: int) -> float | None:
    """Return the characters per second of a tenant's latest renderings by all processes; None if there are too few."""
    where = (
        prompts.c.tenant_id == tenant,
        prompts.c.state == "ready",
        prompts.c.rendered_at > now - THROUGHPUT_WINDOW_MICROSECONDS,
    )
    query = select(prompts.c.rendered_at, prompts.c.characters).where(*where)
    query = query.order_by(prompts.c.rendered_at.desc()).limit(MAX_THROUGHPUT_SAMPLES)
    async with database.read() as connection:
        renderings = [(row.rendered_at, row.characters) for row in await connection.execute(query)]
    intervals = [(late - early, characters) for (late, characters), (early, _) in pairwise(renderings)]
    busy = [(interval, characters) for interval, characters in intervals if interval < MIN_IDLE_MICROSECONDS]
    seconds = sum(interval for interval, _ in busy) / 1e6
    return sum(characters for _, characters in busy) / seconds if seconds else None


async def requeue_missing(database: Database, tenant: str, prompt_id: str, now: int) -> None:
    """Make a rendered sentence due again, since its audio is missing from the storage."""
    where = (prompts.c.tenant_id == tenant, prompts.c.id == prompt_id, prompts.c.state == "ready")
    async with database.autocommit() as connection:
        await connection.execute(update(prompts).where(*where).values(state="pending", size_bytes=0, due_at=now))


async def retry_failed(database: Database, actor: Actor, flow: str, ids: Sequence[str]) -> int:
    """Make the failed ones of these sentences due now, with a new count of failures; return how many."""
    count = 0
    values = {"state": "pending", "failed_attempts": 0, "unfinished_attempts": 0, "due_at": actor.now}
    async with database.transaction() as connection:
        for batch in _batches(sorted(ids)):
            where = (prompts.c.tenant_id == actor.tenant, prompts.c.id.in_(batch), prompts.c.state == "failed")
            count += (await connection.execute(update(prompts).where(*where).values(values))).rowcount
        if count:
            await actor.audit(connection, "prompts.retried", flow, after={"prompts": count})
    return count


# Garbage


async def find_garbage(
    database: Database, before: int, now: int, limit: int = STATEMENT_BATCH_SIZE
) -> list[tuple[str, str]]:
    """Return the tenant and id of rows that no version has used since ``before`` and that are not leased."""
    where = (prompts.c.last_referenced_at < before, func.coalesce(prompts.c.lease_until, 0) <= now)
    query = select(prompts.c.tenant_id, prompts.c.id).where(*where)
    async with database.read() as connection:
        rows = await connection.execute(query.order_by(prompts.c.last_referenced_at).limit(limit))
        return [(row.tenant_id, row.id) for row in rows]


async def delete_garbage(database: Database, tenant: str, ids: Sequence[str], before: int) -> None:
    """Delete these rows of a tenant unless they have been used meanwhile."""
    for batch in _batches(sorted(ids)):
        where = (prompts.c.tenant_id == tenant, prompts.c.id.in_(batch), prompts.c.last_referenced_at < before)
        async with database.transaction() as connection:
            await connection.execute(delete(prompts).where(*where))


def _batches(rows: Sequence[Any]) -> Iterator[Sequence[Any]]:
    remaining = iter(rows)
    while batch := list(islice(remaining, STATEMENT_BATCH_SIZE)):
        yield batch


def _decode_voice(row: Row[Any]) -> Voice:
    return msgspec.json.decode(row.voice, type=Voice)
