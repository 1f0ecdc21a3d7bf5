"""What each number is to be set to at Twilio, written in the transaction that wants it, and how far that is.

A row says what is wanted: our webhooks, or (once the number is unassigned) what was there before. Whoever carries it
out takes it for a while: until the lease ends nobody else may. Each new wish raises the revision, and what is found to
be of an older one is not carried on with. So a row is never done by two at once, and none is forgotten: who took it
and died is taken over from. A row with nothing left to do for a number that is not wanted is deleted.
"""

from typing import Any, Literal

import msgspec
from sqlalchemy import ColumnElement, Row, delete, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from vocelio.gateway.store.audit import dump_json
from vocelio.gateway.store.db.database import Database
from vocelio.gateway.store.db.schema import number_provisioning, tenants

ProvisioningState = Literal["pending", "provisioned", "drifted", "failed", "overridden", "not_managed"]


class Webhooks(msgspec.Struct, frozen=True):
    """What a number at Twilio does with calls; empty for nothing."""

    voice_url: str = ""
    voice_method: str = "POST"
    voice_fallback_url: str = ""
    voice_fallback_method: str = "POST"
    status_callback: str = ""
    status_callback_method: str = "POST"


class ProvisioningRow(msgspec.Struct, frozen=True):
    """A row. ``wanted`` is whether our webhooks are to be there; ``former`` were there before, ``made`` are ours;
    ``since`` is when these were last certain to be there.

    ``account`` is the Twilio account that the number was found in, empty as long as nothing was touched.
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


async def request_setup(connection: AsyncConnection, tenant: str, number: str, at: int) -> None:
    """Our webhooks are to be there."""
    await _claim_from_former_tenant(connection, tenant, number)
    changed = await connection.execute(
        update(number_provisioning).where(*_key_filter(tenant, number)).values(requeued_values(at, desired=True))
    )
    if not changed.rowcount:
        row = {"tenant_id": tenant, "number": number, **requeued_values(at, desired=True), "revision": 1}
        await connection.execute(insert(number_provisioning).values(row))


async def request_restore(connection: AsyncConnection, tenant: str, number: str, at: int) -> None:
    """What was there before is to be put back; if nothing was touched there is nothing to do.

    (Should somebody be about to touch it, the row that is gone tells so in time: see ``note``.)
    """
    await connection.execute(
        delete(number_provisioning).where(*_key_filter(tenant, number), number_provisioning.c.account_sid.is_(None))
    )
    await connection.execute(
        update(number_provisioning).where(*_key_filter(tenant, number)).values(requeued_values(at, desired=False))
    )


async def requeue_tenant(connection: AsyncConnection, tenant: str, at: int) -> None:
    """All of a tenant's are to be tried anew: its account is another."""
    mine = (number_provisioning.c.tenant_id == tenant, number_provisioning.c.desired)
    await connection.execute(update(number_provisioning).where(*mine).values(requeued_values(at)))


async def requeue_unmanaged(database: Database, at: int) -> None:
    """What had no account is to be tried anew: now there may be one."""
    async with database.transaction() as connection:
        where = number_provisioning.c.state == "not_managed"
        await connection.execute(update(number_provisioning).where(where).values(requeued_values(at)))


async def lease_due(
    database: Database, lease_owner: str, now: int, lease_until: int, limit: int
) -> list[ProvisioningRow]:
    """Rows that are due and nobody's at present, at most ``limit``: they are the holder's until then."""
    free = (
        number_provisioning.c.due_at <= now,
        or_(number_provisioning.c.lease_until.is_(None), number_provisioning.c.lease_until <= now),
    )
    key = (number_provisioning.c.tenant_id, number_provisioning.c.number)
    async with database.read() as connection:
        query = select(*key).where(*free).order_by(number_provisioning.c.due_at).limit(limit)
        due = (await connection.execute(query)).all()
    taken = []
    for tenant, number in due:
        statement = (
            update(number_provisioning)
            .where(*_key_filter(tenant, number), *free)
            .values(lease_owner=lease_owner, lease_until=lease_until)
        )
        async with database.transaction() as connection:
            row = (await connection.execute(statement.returning(number_provisioning))).first()
        if row is not None:
            taken.append(from_row(row))
    return taken


async def save_previous(
    database: Database, task: ProvisioningRow, account_sid: str, previous: Webhooks, applied: Webhooks, lease_until: int
) -> bool:
    """Keep what is there before it is changed. False when the task is not ours any more, or not what is wanted."""
    values: dict[str, Any] = {
        "account_sid": account_sid,
        "previous": dump_json(previous),
        "applied": dump_json(applied),
        "lease_until": lease_until,
    }
    if account_sid != task.account_sid:
        values["verified_at"] = None
    async with database.transaction() as connection:
        return await _update_rows(
            connection, *_leased_filter(task), number_provisioning.c.revision == task.revision, **values
        )


async def finish_task(
    database: Database,
    task: ProvisioningRow,
    state: ProvisioningState,
    at: int,
    *,
    error: str = "",
    failed_attempts: int = 0,
    due_at: int | None = None,
) -> bool:
    """How a task ended. False when something else is wanted meanwhile: then it is only given back."""
    values: dict[str, Any] = {
        "state": state,
        "error": error,
        "failed_attempts": failed_attempts,
        "due_at": due_at,
        "updated_at": at,
    }
    if state == "provisioned":
        values["verified_at"] = at
    async with database.transaction() as connection:
        done = await _update_rows(
            connection, *_leased_filter(task), number_provisioning.c.revision == task.revision, **values, **_UNLEASED
        )
        if not done:
            await _update_rows(connection, *_leased_filter(task), **_UNLEASED)
        return done


async def delete_restored(database: Database, task: ProvisioningRow) -> bool:
    """All is as it was before us. False when something else is wanted meanwhile."""
    async with database.transaction() as connection:
        where = (*_leased_filter(task), number_provisioning.c.revision == task.revision)
        if (await connection.execute(delete(number_provisioning).where(*where))).rowcount:
            return True
        await _update_rows(connection, *_leased_filter(task), **_UNLEASED)
        return False


async def release_lease(database: Database, task: ProvisioningRow) -> None:
    """It is not ours to do any more, or not yet: others may at once."""
    async with database.transaction() as connection:
        await _update_rows(connection, *_leased_filter(task), **_UNLEASED)


async def release_all_leases(database: Database, lease_owner: str) -> None:
    """All that one holder has, when it ends."""
    async with database.transaction() as connection:
        await _update_rows(connection, number_provisioning.c.lease_owner == lease_owner, **_UNLEASED)


async def record_observation(
    database: Database, observed: ProvisioningRow, state: ProvisioningState, error: str, at: int
) -> bool:
    """What a look at Twilio showed of a row. False when it is known already, or the row has changed since."""
    same = (number_provisioning.c.revision == observed.revision, number_provisioning.c.state == observed.state)
    if (state, error) == (observed.state, observed.error):
        return False
    async with database.transaction() as connection:
        where = (*_key_filter(observed.tenant, observed.number), *same)
        return await _update_rows(connection, *where, state=state, error=error, updated_at=at)


async def _claim_from_former_tenant(connection: AsyncConnection, tenant: str, number: str) -> None:
    """A number that another tenant has given up, and that is not put back yet, at the platform's account.

    Else the two would undo each other's, and what was there before would be forgotten.
    """
    others = (number_provisioning.c.number == number, number_provisioning.c.tenant_id != tenant)
    row = (await connection.execute(select(number_provisioning).where(*others).with_for_update())).first()
    if row is None:
        return
    both = select(tenants.c.id, tenants.c.account_sid).where(tenants.c.id.in_([tenant, row.tenant_id]))
    accounts = {one.id: one.account_sid for one in await connection.execute(both)}
    if row.account_sid is None:
        await connection.execute(delete(number_provisioning).where(*others))
    elif accounts[tenant] is None and accounts[row.tenant_id] != row.account_sid:
        await connection.execute(update(number_provisioning).where(*others).values(tenant_id=tenant))


async def _update_rows(connection: AsyncConnection, *where: ColumnElement[bool], **values: Any) -> bool:
    return bool((await connection.execute(update(number_provisioning).where(*where).values(values))).rowcount)


_UNLEASED: dict[str, None] = {"lease_owner": None, "lease_until": None}


def requeued_values(at: int, **values: Any) -> dict[str, Any]:
    """The columns of a row that is to be carried out (anew)."""
    tried = {"state": "pending", "error": "", "failed_attempts": 0, "due_at": at, "updated_at": at}
    return {**tried, "revision": number_provisioning.c.revision + 1, **values}


def _key_filter(tenant: str, number: str) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return number_provisioning.c.tenant_id == tenant, number_provisioning.c.number == number


def _leased_filter(task: ProvisioningRow) -> tuple[ColumnElement[bool], ...]:
    return *_key_filter(task.tenant, task.number), number_provisioning.c.lease_owner == task.lease_owner


def from_row(row: Row[Any]) -> ProvisioningRow:
    """A row of the table."""
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
