"""Numbers with their provisioning state, in pages, and retries on request."""

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import Row, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from vocelio.gateway.errors import Conflict, NotFound
from vocelio.gateway.store.audit import Actor
from vocelio.gateway.store.db import pagination
from vocelio.gateway.store.db.database import Database
from vocelio.gateway.store.db.pagination import Page
from vocelio.gateway.store.db.schema import number_provisioning, numbers
from vocelio.gateway.store.provisioning.queue import ProvisioningRow, from_row, request_setup, requeued_values

RETRY_ACTION = "number.provisioning_retried"


class ProvisioningView(msgspec.Struct, frozen=True):
    """A number and its provisioning; ``exists`` is false for a deleted number that is not yet restored."""

    number: str
    exists: bool
    label: str
    flow: str | None
    provisioning: ProvisioningRow | None


async def list_provisioning(database: Database, tenant: str, limit: int, cursor: str) -> Page[ProvisioningView]:
    """List a tenant's numbers in order, and deleted ones that are not yet restored. Raises InvalidInput."""
    after = pagination.decode_cursor(cursor, str)
    views = dict[str, ProvisioningView]()
    async with database.read() as connection:
        for row in await _fetch_page(connection, numbers, tenant, after, limit):
            views[row.number] = ProvisioningView(row.number, True, row.label, row.flow_id, None)
        for row in await _fetch_page(connection, number_provisioning, tenant, after, limit):
            view = views.get(row.number) or ProvisioningView(row.number, False, "", None, None)
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
