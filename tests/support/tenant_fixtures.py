"""What the tests of the tenants' things share: tenants, flow documents, the trail."""

import json

from sqlalchemy import insert, select

from vocelio.gateway.crypto.encryption import SecretCipher
from vocelio.gateway.model.tenant import Tenant
from vocelio.gateway.store.db.schema import audit_log
from vocelio.gateway.store.db.schema import tenants as tenant_table
from vocelio.gateway.store.tenants import tenants

CIPHER = SecretCipher(["the tests' key"])


async def create_tenant(database, actor, name="harbour", **settings):
    """A tenant, and an actor of its."""
    one = actor(name)
    await tenants.create_tenant(database, one, Tenant(id=name, name=name.title(), **settings))
    return one


def flow_document(text="Good day.", *, calls=(), **parts):
    """A flow that says something, and calls others."""
    nodes = {"greet": {"type": "say", "text": text, "exits": {"next": "call0" if calls else "bye"}}}
    for place, call in enumerate(calls):
        name, _, version = call.partition("@")
        after = f"call{place + 1}" if place + 1 < len(calls) else "bye"
        nodes[f"call{place}"] = {
            "type": "subflow",
            "flow": name,
            "version": int(version or 0),
            "exits": {"next": after},
        }
    nodes["bye"] = {"type": "hangup"}
    return json.dumps({"name": "A flow", "start": "greet", "nodes": nodes} | parts).encode()


async def audit_entries(database, tenant="harbour"):
    """What was recorded: (action, target, before, after), the oldest first."""
    async with database.read() as connection:
        query = (
            select(audit_log).where(audit_log.c.tenant_id == tenant).order_by(audit_log.c.occurred_at, audit_log.c.id)
        )
        rows = (await connection.execute(query)).all()
    return [(row.action, row.target, *(part and json.loads(part) for part in (row.before, row.after))) for row in rows]


async def insert_rows(database, table, rows):
    """Put rows into a table as they are, many at once."""
    async with database.transaction() as connection:
        await connection.execute(insert(table), rows)


async def audit_actions(database, tenant="harbour"):
    """The same, what was done only, but for the tenant's own making."""
    return [(action, target) for action, target, _, _ in (await audit_entries(database, tenant))[1:]]


async def tenant_revision(database, tenant="harbour"):
    """What rises when the tenant's next call must look again."""
    async with database.read() as connection:
        return await connection.scalar(select(tenant_table.c.revision).where(tenant_table.c.id == tenant))
