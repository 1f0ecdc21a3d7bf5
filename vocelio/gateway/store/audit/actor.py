"""Who changes something, and the trail of it.

Every change is recorded in the transaction that makes it: both are there, or neither. What is secret is never part
of ``before`` and ``after``; rows are only ever added (the database itself refuses to change or delete one).
"""

import itertools
import secrets
from typing import Any

import msgspec
from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from vocelio.gateway.model.roles import Role
from vocelio.gateway.store.db.schema import audit_log

_sequence = itertools.count()


class Actor(msgspec.Struct, frozen=True):
    """Whose key it is. ``tenant`` is the one whose things are at hand; ``at`` is now, whole microseconds UTC.

    Of a platform key, ``tenant`` is the one that it names, or empty.
    """

    key_id: str
    role: Role
    tenant: str
    request_id: str
    now: int

    async def audit(
        self, connection: AsyncConnection, action: str, target: str, before: Any = None, after: Any = None
    ) -> None:
        """Add to the trail: ``action`` such as ``flow.promoted``, on ``target``, such as the flow's name."""
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
    """A value as it is kept in a text column."""
    return msgspec.json.encode(value).decode()


def sortable_id(now: int) -> str:
    """A new identifier whose order is that of time, and within one instant that in which a process made them."""
    return f"{now:015x}{next(_sequence) % 65_536:04x}{secrets.token_hex(4)}"
