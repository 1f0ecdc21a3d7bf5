"""Registrations as users see them: beside their numbers, in pages; and tried again when somebody asks for it."""

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import Row, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from vocelio.gateway.errors import Conflict, NotFound
from vocelio.gateway.store.audit.actor import Actor
from vocelio.gateway.store.db import pagination
from vocelio.gateway.store.db.database import Database
from vocelio.gateway.store.db.pagination import Items
from vocelio.gateway.store.db.schema import numbers, registrations
from vocelio.gateway.store.provisioning.queue import Kept, kept, renewed, want

ASKED = "number.registration_asked"


class Line(msgspec.Struct, frozen=True):
    """A number and its registration. ``here`` is false for one that was removed, and is not put back yet."""

    number: str
    here: bool
    label: str
    flow: str | None
    kept: Kept | None


async def every(database: Database, tenant: str, limit: int, cursor: str) -> Items[Line]:
    """All numbers of a tenant, in order, and those that are still to be put back. Raises Invalid."""
    after = pagination.after(cursor, str)
    lines = dict[str, Line]()
    async with database.reading() as connection:
        for row in await _page(connection, numbers, tenant, after, limit):
            lines[row.number] = Line(row.number, True, row.label, row.flow_id, None)
        for row in await _page(connection, registrations, tenant, after, limit):
            line = lines.get(row.number) or Line(row.number, False, "", None, None)
            lines[row.number] = msgspec.structs.replace(line, kept=kept(row))
    ordered = [lines[number] for number in sorted(lines)]
    return pagination.cut(ordered[: limit + 1], limit, lambda line: line, lambda line: (line.number,))


async def again(database: Database, actor: Actor, number: str) -> None:
    """Try a number again now. Raises NotFound, Conflict when there is nothing to do for it."""
    async with database.writing() as connection:
        if not await _again(connection, actor, number):
            raise Conflict(f"{number} leads to no flow, so there is nothing to set at Twilio. Assign it first.")


async def all_again(database: Database, actor: Actor, wanted: Sequence[str]) -> list[str]:
    """Try those of them again now for which there is something to do. Gives their numbers."""
    done = []
    for number in wanted:
        try:
            async with database.writing() as connection:  # each on its own: calls' writing never waits for thousands
                if await _again(connection, actor, number):
                    done.append(number)
        except NotFound:  # it was removed meanwhile
            continue
    return done


async def _again(connection: AsyncConnection, actor: Actor, number: str) -> bool:
    """Whether there is something to do. The number's row is held first, as an assignment does."""
    query = select(numbers.c.flow_id).where(numbers.c.tenant_id == actor.tenant, numbers.c.number == number)
    row = (await connection.execute(query.with_for_update())).first()
    mine = (registrations.c.tenant_id == actor.tenant, registrations.c.number == number)
    if not (await connection.execute(update(registrations).where(*mine).values(renewed(actor.at)))).rowcount:
        if row is None:
            raise NotFound
        if row.flow_id is None:
            return False
        await want(connection, actor.tenant, number, actor.at)
    await actor.record(connection, ASKED, number)
    return True


async def _page(
    connection: AsyncConnection, table: Any, tenant: str, after: tuple[str] | None, limit: int
) -> Sequence[Row[Any]]:
    query = select(table).where(table.c.tenant_id == tenant).order_by(table.c.number).limit(limit + 1)
    if after:
        query = query.where(table.c.number > after[0])
    return (await connection.execute(query)).all()
