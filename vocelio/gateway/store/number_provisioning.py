"""Provisioning queue: the desired webhooks of each number at Twilio, and how far they have been applied.

The desired state (the gateway's webhooks, or after unassignment the previous ones) is written in the transaction that
changes the assignment, and raises the row's revision; a worker's result for an older revision is discarded. A worker
leases a row, so a number is never processed twice at once. A row whose number is unassigned and restored is deleted.
"""

from collections.abc import Sequence
from typing import Any, Literal

import msgspec
from sqlalchemy import ColumnElement, Row, delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from vocelio.gateway.aio.backoff import Backoff
from vocelio.gateway.errors import Conflict, NotFound
from vocelio.gateway.store.audit import Actor, dump_json
from vocelio.gateway.store.db import pagination
from vocelio.gateway.store.db.database import Database
from vocelio.gateway.store.db.pagination import Page
from vocelio.gateway.store.db.schema import number_provisioning, numbers, tenants
from vocelio.gateway.store.leases import Lease, LeaseQueue

ProvisioningState = Literal["pending", "provisioned", "drifted", "failed", "overridden", "not_managed"]

_QUEUE = LeaseQueue(number_provisioning, "number")


class Webhooks(msgspec.Struct, frozen=True):
    """The webhooks of a number at Twilio; an empty URL means none."""

    voice_url: str = ""
    voice_method: str = "POST"
    voice_fallback_url: str = ""
    voice_fallback_method: str = "POST"
    status_callback: str = ""
    status_callback_method: str = "POST"


class ProvisioningRow(msgspec.Struct, frozen=True):
    """A row of the queue.

    ``desired`` is whether the gateway's webhooks are to be set, or else the ``previous`` ones. ``applied`` are those
    that the gateway has set; ``verified_at`` is when they were last known to be set. ``account_sid`` is the Twilio
    account in which the number was found, empty as long as nothing was changed there.
    """

    tenant: str
    number: str
    desired: bool
    revision: int
    state: ProvisioningState
    error: str
    account_sid: str
    previous: Webhooks | None
    applied: Webhooks | None
    verified_at: int | None
    failed_attempts: int
    due_at: int | None
    lease_owner: str


# Desired state


async def request_setup(connection: AsyncConnection, tenant: str, number: str, now: int) -> None:
    """Request that the gateway's webhooks are set."""
    await _take_over_from_former_tenant(connection, tenant, number)
    values = requeued_values(now, desired=True)
    changed = await connection.execute(update(number_provisioning).where(*_row_filter(tenant, number)).values(values))
    if not changed.rowcount:
        row = {"tenant_id": tenant, "number": number, **values, "revision": 1}
        await connection.execute(insert(number_provisioning).values(row))


async def request_restore(connection: AsyncConnection, tenant: str, number: str, now: int) -> None:
    """Request that the previous webhooks are restored; if nothing was changed, the row is deleted.

    A worker that is about to change the number finds its row deleted and stops: see ``save_previous``.
    """
    is_row = _row_filter(tenant, number)
    await connection.execute(delete(number_provisioning).where(*is_row, number_provisioning.c.account_sid.is_(None)))
    values = requeued_values(now, desired=False)
    await connection.execute(update(number_provisioning).where(*is_row).values(values))


async def delete_row(connection: AsyncConnection, tenant: str, number: str) -> None:
    """Delete the row of a number whose account has lost it: a worker that is about to change it stops."""
    await connection.execute(delete(number_provisioning).where(*_row_filter(tenant, number)))


async def requeue_tenant(connection: AsyncConnection, tenant: str, now: int) -> None:
    """Requeue all numbers of a tenant whose Twilio account has changed."""
    is_desired = (number_provisioning.c.tenant_id == tenant, number_provisioning.c.desired)
    await connection.execute(update(number_provisioning).where(*is_desired).values(requeued_values(now)))


async def requeue_unmanaged(database: Database, now: int) -> None:
    """Requeue numbers for which there was no Twilio account, since there may be one now."""
    async with database.transaction() as connection:
        where = number_provisioning.c.state == "not_managed"
        await connection.execute(update(number_provisioning).where(where).values(requeued_values(now)))


def requeued_values(now: int, **values: Any) -> dict[str, Any]:
    """Return the column values of a row that is to be processed (again)."""
    initial = {"state": "pending", "error": "", "failed_attempts": 0, "due_at": now, "updated_at": now}
    return {**initial, "revision": number_provisioning.c.revision + 1, **values}


async def _take_over_from_former_tenant(connection: AsyncConnection, tenant: str, number: str) -> None:
    """Take over the row of a number that another tenant has given up and that is not yet restored.

    This concerns numbers that both have claimed under the same account. With two rows the tenants would undo each
    other's changes, and the previous webhooks would be lost.
    """
    is_other_tenants = (number_provisioning.c.number == number, number_provisioning.c.tenant_id != tenant)
    query = select(number_provisioning).where(*is_other_tenants).with_for_update()
    row = (await connection.execute(query)).first()
    if row is None:
        return
    claimed = await connection.scalar(
        select(numbers.c.account_sid).where(numbers.c.tenant_id == tenant, numbers.c.number == number)
    )
    former_own = await connection.scalar(select(tenants.c.account_sid).where(tenants.c.id == row.tenant_id))
    if row.account_sid is None:
        await connection.execute(delete(number_provisioning).where(*is_other_tenants))
    elif claimed == row.account_sid or (claimed is None and row.account_sid != former_own):
        await connection.execute(update(number_provisioning).where(*is_other_tenants).values(tenant_id=tenant))


# Leases


async def lease_due(database: Database, owner: str, now: int, lease_until: int, limit: int) -> list[ProvisioningRow]:
    """Lease up to ``limit`` due rows."""
    return [from_row(row) for row in await _QUEUE.lease_due(database, owner, now, lease_until, limit)]


async def save_previous(
    database: Database, task: ProvisioningRow, account_sid: str, previous: Webhooks, applied: Webhooks, lease_until: int
) -> bool:
    """Save a number's webhooks before they are changed, and extend the lease.

    Return False if the lease was lost or the desired state has changed.
    """
    values: dict[str, Any] = {
        "account_sid": account_sid,
        "previous": dump_json(previous),
        "applied": dump_json(applied),
    }
    if account_sid != task.account_sid:
        values["verified_at"] = None
    return await _QUEUE.extend(database, _lease(task), lease_until, _is_unchanged(task), **values)


async def finish_task(
    database: Database, task: ProvisioningRow, state: ProvisioningState, now: int, error: str = ""
) -> bool:
    """Record that a task is done. Return False, and only end the lease, if the desired state has changed."""
    values: dict[str, Any] = {"state": state, "error": error, "failed_attempts": 0, "due_at": None, "updated_at": now}
    if state == "provisioned":
        values["verified_at"] = now
    return await _QUEUE.finish(database, _lease(task), _is_unchanged(task), **values)


async def fail_task(
    database: Database,
    task: ProvisioningRow,
    state: ProvisioningState,
    error: str,
    now: int,
    backoff: Backoff,
    min_delay_seconds: float,
) -> bool:
    """Record a failure and schedule the next attempt. Return False as ``finish_task`` does."""
    return await _QUEUE.fail(
        database,
        _lease(task),
        _is_unchanged(task),
        error=error,
        failed_attempts=task.failed_attempts + 1,
        now=now,
        backoff=backoff,
        min_delay_seconds=min_delay_seconds,
        state=state,
        updated_at=now,
    )


async def delete_restored(database: Database, task: ProvisioningRow) -> bool:
    """Delete the row of a restored number. Return False as ``finish_task`` does."""
    return await _QUEUE.delete(database, _lease(task), _is_unchanged(task))


async def release_lease(database: Database, task: ProvisioningRow) -> None:
    """Give up a lease without a result."""
    await _QUEUE.release(database, _lease(task))


async def release_all_leases(database: Database, owner: str) -> None:
    """Give up all leases of a worker."""
    await _QUEUE.release_all(database, owner)


def _lease(task: ProvisioningRow) -> Lease:
    return Lease(task.tenant, task.number, task.lease_owner)


def _is_unchanged(task: ProvisioningRow) -> ColumnElement[bool]:
    return number_provisioning.c.revision == task.revision


# Observations


async def record_observation(
    database: Database, row: ProvisioningRow, state: ProvisioningState, error: str, now: int
) -> bool:
    """Record the state in which a number was found at Twilio. Return False if it is known, or the row has changed."""
    if (state, error) == (row.state, row.error):
        return False
    where = (*_row_filter(row.tenant, row.number), _is_unchanged(row), number_provisioning.c.state == row.state)
    statement = update(number_provisioning).where(*where).values(state=state, error=error, updated_at=now)
    async with database.transaction() as connection:
        return bool((await connection.execute(statement)).rowcount)


def _row_filter(tenant: str, number: str) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return number_provisioning.c.tenant_id == tenant, number_provisioning.c.number == number


def from_row(row: Row[Any]) -> ProvisioningRow:
    """Convert a row of the table."""
    return ProvisioningRow(
        row.tenant_id,
        row.number,
        row.desired,
        row.revision,
        row.state,
        row.error,
        row.account_sid or "",
        _decode_webhooks(row.previous),
        _decode_webhooks(row.applied),
        row.verified_at,
        row.failed_attempts,
        row.due_at,
        row.lease_owner or "",
    )


def _decode_webhooks(text: str | None) -> Webhooks | None:
    return None if text is None else msgspec.json.decode(text, type=Webhooks)


RETRY_ACTION = "number.provisioning_retried"


class ProvisioningView(msgspec.Struct, frozen=True):
    """A number and its provisioning; ``exists`` is false for a deleted number that is not yet restored.

    ``account_sid`` is the account under which it is claimed; None is the platform's.
    """

    number: str
    exists: bool
    label: str
    flow: str | None
    account_sid: str | None
    provisioning: ProvisioningRow | None


async def list_provisioning(database: Database, tenant: str, limit: int, cursor: str) -> Page[ProvisioningView]:
    """List a tenant's numbers in order, and deleted ones that are not yet restored. Raises InvalidInput."""
    after = pagination.decode_cursor(cursor, str)
    views = dict[str, ProvisioningView]()
    async with database.read() as connection:
        for row in await _fetch_page(connection, numbers, tenant, after, limit):
            views[row.number] = ProvisioningView(row.number, True, row.label, row.flow_id, row.account_sid, None)
        for row in await _fetch_page(connection, number_provisioning, tenant, after, limit):
            view = views.get(row.number) or ProvisioningView(row.number, False, "", None, row.account_sid, None)
            views[row.number] = msgspec.structs.replace(view, provisioning=from_row(row))
    ordered = [views[number] for number in sorted(views)]
    return pagination.make_page(ordered[: limit + 1], limit, lambda view: view, lambda view: (view.number,))


async def retry(database: Database, actor: Actor, number: str) -> None:
    """Retry a number now. Raises NotFound, and Conflict if there is nothing to do for it."""
    async with database.transaction() as connection:
        if not await _retry(connection, actor, number):
            raise Conflict(f"{number} is not assigned to a flow, so nothing is set at Twilio. Assign it first.")


async def retry_all(database: Database, actor: Actor, candidates: Sequence[str]) -> list[str]:
    """Retry those of the numbers for which there is something to do; return them."""
    retried = []
    for number in candidates:
        try:
            async with database.transaction() as connection:  # one each, so that calls never wait for thousands
                if await _retry(connection, actor, number):
                    retried.append(number)
        except NotFound:  # deleted meanwhile
            continue
    return retried


async def _retry(connection: AsyncConnection, actor: Actor, number: str) -> bool:
    """Requeue a number; return whether there is something to do. Locks the number first, as an assignment does."""
    query = select(numbers.c.flow_id).where(numbers.c.tenant_id == actor.tenant, numbers.c.number == number)
    row = (await connection.execute(query.with_for_update())).first()
    is_row = (number_provisioning.c.tenant_id == actor.tenant, number_provisioning.c.number == number)
    statement = update(number_provisioning).where(*is_row).values(requeued_values(actor.now))
    if not (await connection.execute(statement)).rowcount:
        if row is None:
            raise NotFound
        if row.flow_id is None:
            return False
        await request_setup(connection, actor.tenant, number, actor.now)
    await actor.audit(connection, RETRY_ACTION, number)
    return True


async def _fetch_page(
    connection: AsyncConnection, table: Any, tenant: str, cursor_key: tuple[str] | None, limit: int
) -> Sequence[Row[Any]]:
    query = select(table).where(table.c.tenant_id == tenant).order_by(table.c.number).limit(limit + 1)
    if cursor_key:
        query = query.where(table.c.number > cursor_key[0])
    return (await connection.execute(query)).all()
