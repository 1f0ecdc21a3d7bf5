"""Audit log: who changed what, when, and how it was before and after.

Every change is audited in the transaction that makes it, so there is never one without the other. Secret values must
never appear in ``before`` or ``after``. Entries are only added: triggers in the database reject updates and deletes.
"""

import itertools
import secrets
from typing import Any

import msgspec
from sqlalchemy import Row, insert, select, tuple_
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from vocelio.gateway.clock import Instant, encode_hook
from vocelio.gateway.model.roles import Role
from vocelio.gateway.store.db import pagination
from vocelio.gateway.store.db.database import Database
from vocelio.gateway.store.db.pagination import Page
from vocelio.gateway.store.db.schema import audit_log

_sequence = itertools.count()


class Actor(msgspec.Struct, frozen=True):
    """The API key on whose behalf something is done, at ``now`` (microseconds UTC).

    ``tenant`` is the tenant acted on. For a platform key it is the tenant that the request names, or empty.
    """

    key_id: str
    role: Role
    tenant: str
    request_id: str
    now: int

    async def audit(
        self, connection: AsyncConnection, action: str, target: str, before: Any = None, after: Any = None
    ) -> None:
        """Add an entry: ``action`` such as ``flow.promoted`` on ``target`` such as the flow's id."""
        row = {
            "id": sortable_id(self.now),
            "tenant_id": self.tenant or None,
            "occurred_at": self.now,
            "key_id": self.key_id,
            "role": self.role,
            "request_id": self.request_id,
            "action": action,
            "target": target,
            "before": None if before is None else dump_json(before),
            "after": None if after is None else dump_json(after),
        }
        await connection.execute(insert(audit_log), row)


def dump_json(value: Any) -> str:
    """Encode a value for a text column; instants become RFC 3339 texts."""
    return msgspec.json.encode(value, enc_hook=encode_hook).decode()


def sortable_id(now: int) -> str:
    """Create a unique id that sorts by time, and within one instant in the order in which this process made it."""
    return f"{now:015x}{next(_sequence) % 65_536:04x}{secrets.token_hex(4)}"


async def consume_ticket(database: Database, ticket_id: str, actor: Actor) -> bool:
    """Use up a one-time WebSocket ticket; False if it has been used. Raises DatabaseUnavailable.

    The ticket's id is the primary key of the audit entry, so only one of several processes can add it.
    """
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
    """One change. ``tenant`` is empty for platform-wide changes; ``request_id`` is the request's X-Request-Id."""

    id: str
    tenant: str
    occurred_at: Instant
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
    """List a tenant's audit entries, or with an empty ``tenant`` all, newest first. Raises InvalidInput."""
    last_key = pagination.decode_cursor(cursor, int, str)
    # Ids sort by time as well: each order has its own index.
    order = (audit_log.c.occurred_at, audit_log.c.id) if tenant else (audit_log.c.id,)
    query = select(audit_log).order_by(*(column.desc() for column in order)).limit(limit + 1)
    for column, value in ((audit_log.c.tenant_id, tenant), (audit_log.c.action, action), (audit_log.c.target, target)):
        if value:
            query = query.where(column == value)
    if last_key:
        query = query.where(
            tuple_(audit_log.c.occurred_at, audit_log.c.id) < last_key if tenant else audit_log.c.id < last_key[1]
        )
    async with database.read() as connection:
        rows = (await connection.execute(query)).all()
    return pagination.make_page(rows, limit, _from_row, lambda row: (row.occurred_at, row.id))


def _from_row(row: Row[Any]) -> AuditEntry:
    return AuditEntry(
        id=row.id,
        tenant=row.tenant_id or "",
        occurred_at=Instant(row.occurred_at),
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
