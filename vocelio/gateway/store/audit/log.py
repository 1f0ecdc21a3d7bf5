"""Who was let in to watch: by a ticket that is good once, whichever process it is brought to.

A ticket names the row of the trail that its use will add. Rows of the trail have one key each, and are never changed:
of two who bring the same ticket, one adds the row and the other cannot.

The trail of changes, for reading: who did what, when, and what it was before and after.
"""

from typing import Any

import msgspec
from sqlalchemy import Row, insert, select, tuple_
from sqlalchemy.exc import IntegrityError

from vocelio.gateway.model.roles import Role
from vocelio.gateway.store.audit.actor import Actor, to_json
from vocelio.gateway.store.db import pagination
from vocelio.gateway.store.db.database import Database
from vocelio.gateway.store.db.pagination import Items
from vocelio.gateway.store.db.schema import audit


async def use(database: Database, ticket: str, actor: Actor) -> bool:
    """Use up the ticket; False when it was used before. Raises StoreUnavailable."""
    row = {
        "id": ticket,
        "tenant_id": actor.tenant or None,
        "at": actor.at,
        "key_id": actor.key,
        "role": actor.role,
        "request": actor.request,
        "action": "monitor.admitted",
        "target": actor.key,
        "before": None,
        "after": to_json({"by": "ticket"}),
    }
    try:
        async with database.writing() as connection:
            await connection.execute(insert(audit), row)
    except IntegrityError:
        return False
    return True


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One change. ``tenant`` is empty for the platform's own; ``request`` is the X-Request-Id of what made it."""

    id: str
    tenant: str
    at: int
    key: str
    role: Role
    request: str
    action: str
    target: str
    before: Any
    after: Any


async def every(
    database: Database, tenant: str, limit: int, cursor: str, *, action: str = "", target: str = ""
) -> Items[Entry]:
    """A tenant's changes, or with no tenant everybody's, newest first. Raises Invalid."""
    last = pagination.after(cursor, int, str)
    order = (audit.c.at, audit.c.id) if tenant else (audit.c.id,)  # ids are in order of time, too: each has its index
    query = select(audit).order_by(*(column.desc() for column in order)).limit(limit + 1)
    for column, value in ((audit.c.tenant_id, tenant), (audit.c.action, action), (audit.c.target, target)):
        if value:
            query = query.where(column == value)
    if last:
        query = query.where(tuple_(audit.c.at, audit.c.id) < last if tenant else audit.c.id < last[1])
    async with database.reading() as connection:
        rows = (await connection.execute(query)).all()
    return pagination.cut(rows, limit, _entry, lambda row: (row.at, row.id))


def _entry(row: Row[Any]) -> Entry:
    return Entry(
        id=row.id,
        tenant=row.tenant_id or "",
        at=row.at,
        key=row.key_id,
        role=row.role,
        request=row.request,
        action=row.action,
        target=row.target,
        before=_value(row.before),
        after=_value(row.after),
    )


def _value(text: str | None) -> Any:
    return None if text is None else msgspec.json.decode(text)
