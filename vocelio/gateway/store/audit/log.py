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
from vocelio.gateway.store.audit.actor import Actor, dump_json
from vocelio.gateway.store.db import pagination
from vocelio.gateway.store.db.database import Database
from vocelio.gateway.store.db.pagination import Page
from vocelio.gateway.store.db.schema import audit_log


async def consume_ticket(database: Database, ticket_id: str, actor: Actor) -> bool:
    """Use up the ticket; False when it was used before. Raises StoreUnavailable."""
    row = {
        "id": ticket_id,
        "tenant_id": actor.tenant or None,
        "occurred_at": actor.now,
        "key_id": actor.key_id,
        "role": actor.role,
        "request_id": actor.request_id,
        "action": "monitor.connected",
        "target": actor.key_id,
        "before": None,
        "after": dump_json({"by": "ticket"}),
    }
    try:
        async with database.transaction() as connection:
            await connection.execute(insert(audit_log), row)
    except IntegrityError:
        return False
    return True


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One change. ``tenant`` is empty for the platform's own; ``request`` is the X-Request-Id of what made it."""

    id: str
    tenant: str
    occurred_at: int
    key_id: str
    role: Role
    request_id: str
    action: str
    target: str
    before: Any
    after: Any


async def list_entries(
    database: Database, tenant: str, limit: int, cursor: str, *, action: str = "", target: str = ""
) -> Page[AuditEntry]:
    """A tenant's changes, or with no tenant everybody's, newest first. Raises Invalid."""
    last = pagination.decode_cursor(cursor, int, str)
    order = (
        (audit_log.c.occurred_at, audit_log.c.id) if tenant else (audit_log.c.id,)
    )  # ids are in order of time, too: each has its index
    query = select(audit_log).order_by(*(column.desc() for column in order)).limit(limit + 1)
    for column, value in ((audit_log.c.tenant_id, tenant), (audit_log.c.action, action), (audit_log.c.target, target)):
        if value:
            query = query.where(column == value)
    if last:
        query = query.where(
            tuple_(audit_log.c.occurred_at, audit_log.c.id) < last if tenant else audit_log.c.id < last[1]
        )
    async with database.read() as connection:
        rows = (await connection.execute(query)).all()
    return pagination.make_page(rows, limit, _from_row, lambda row: (row.occurred_at, row.id))


def _from_row(row: Row[Any]) -> AuditEntry:
    return AuditEntry(
        id=row.id,
        tenant=row.tenant_id or "",
        occurred_at=row.occurred_at,
        key_id=row.key_id,
        role=row.role,
        request_id=row.request_id,
        action=row.action,
        target=row.target,
        before=_load_json(row.before),
        after=_load_json(row.after),
    )


def _load_json(text: str | None) -> Any:
    return None if text is None else msgspec.json.decode(text)
