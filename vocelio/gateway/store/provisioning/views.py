"""Registrations as users see them: beside their numbers, in pages; and tried again when somebody asks for it."""

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
    """A number and its registration. ``here`` is false for one that was removed, and is not put back yet."""

    number: str
    exists: bool
    label: str
    flow: str | None
    provisioning: ProvisioningRow | None


async def list_provisioning(database: Database, tenant: str, limit: int, cursor: str) -> Page[ProvisioningView]:
    """All numbers of a tenant, in order, and those that are still to be put back. Raises Invalid."""
    after = pagination.decode_cursor(cursor, str)
    lines = dict[str, ProvisioningView]()
    async with database.read() as connection:
        for row in await _fetch_page(connection, numbers, tenant, after, limit):
            lines[row.number] = ProvisioningView(row.number, True, row.label, row.flow_id, None)
        for row in await _fetch_page(connection, number_provisioning, tenant, after, limit):
            line = lines.get(row.number) or ProvisioningView(row.number, False, "", None, None)
            lines[row.number] = msgspec.structs.replace(line, provisioning=from_row(row))
    ordered = [lines[number] for number in sorted(lines)]
    return pagination.make_page(ordered[: limit + 1], limit, lambda line: line, lambda line: (line.number,))


async def retry(database: Database, actor: Actor, number: str) -> None:
    """Try a number again now. Raises NotFound, Conflict when there is nothing to do for it."""
    async with database.transaction() as connection:
        if not await _retry(connection, actor, number):
            raise Conflict(f"{number} leads to no flow, so there is nothing to set at Twilio. Assign it first.")


async def retry_all(database: Database, actor: Actor, candidates: Sequence[str]) -> list[str]:
    """Try those of them again now for which there is something to do. Gives their numbers."""
    done = []
    for number in candidates:
        try:
            async with (
                database.transaction() as connection
            ):  # each on its own: calls' writing never waits for thousands
                if await _retry(connection, actor, number):
                    done.append(number)
        except NotFound:  # it was removed meanwhile
            continue
    return done


async def _retry(connection: AsyncConnection, actor: Actor, number: str) -> bool:
    """Whether there is something to do. The number's row is held first, as an assignment does."""
    query = select(numbers.c.flow_id).where(numbers.c.tenant_id == actor.tenant, numbers.c.number == number)
    row = (await connection.execute(query.with_for_update())).first()
    mine = (number_provisioning.c.tenant_id == actor.tenant, number_provisioning.c.number == number)
    if not (
        await connection.execute(update(number_provisioning).where(*mine).values(requeued_values(actor.now)))
    ).rowcount:
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
