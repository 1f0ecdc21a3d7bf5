"""Shared by tests of tenants' resources: tenants, flow documents, audit entries."""

import json

from sqlalchemy import insert, select

from vocelio.gateway.crypto import SecretCipher
from vocelio.gateway.model.tenant import Tenant
from vocelio.gateway.store.db.schema import audit_log
from vocelio.gateway.store.db.schema import tenants as tenant_table
from vocelio.gateway.store.tenants import tenants

CIPHER = SecretCipher(["the tests' key"])


async def create_tenant(database, actor, name="harbour", **settings):
    """Create a tenant and return an actor of it."""
    tenant_actor = actor(name)
    await tenants.create_tenant(database, tenant_actor, Tenant(id=name, name=name.title(), **settings))
    return tenant_actor


def flow_document(text="Good day.", *, calls=(), **parts):
    """A flow that says a text and then calls other flows."""
    nodes = {"greet": {"type": "say", "text": text, "exits": {"next": "call0" if calls else "bye"}}}
    for index, call in enumerate(calls):
        name, _, version = call.partition("@")
        next_node = f"call{index + 1}" if index + 1 < len(calls) else "bye"
        nodes[f"call{index}"] = {
            "type": "subflow",
            "flow": name,
            "version": int(version or 0),
            "exits": {"next": next_node},
        }
    nodes["bye"] = {"type": "hangup"}
    return json.dumps({"name": "A flow", "start": "greet", "nodes": nodes} | parts).encode()


async def audit_entries(database, tenant="harbour"):
    """The audit log, oldest first: (action, target, before, after)."""
    async with database.read() as connection:
        query = (
            select(audit_log).where(audit_log.c.tenant_id == tenant).order_by(audit_log.c.occurred_at, audit_log.c.id)
        )
        rows = (await connection.execute(query)).all()
    return [(row.action, row.target, *(part and json.loads(part) for part in (row.before, row.after))) for row in rows]


async def insert_rows(database, table, rows):
    """Insert many rows at once."""
    async with database.transaction() as connection:
        await connection.execute(insert(table), rows)


async def audit_actions(database, tenant="harbour"):
    """(action, target) of the audit log, without the creation of the tenant."""
    return [(action, target) for action, target, _, _ in (await audit_entries(database, tenant))[1:]]


async def tenant_revision(database, tenant="harbour"):
    """The tenant's revision, which rises when the next call must reload the tenant."""
    async with database.read() as connection:
        return await connection.scalar(select(tenant_table.c.revision).where(tenant_table.c.id == tenant))
