"""Departments: the named targets of transfers."""

import msgspec
from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncConnection

from vocelio.engine.diagnostics import Diagnostic
from vocelio.gateway.dialing import validation
from vocelio.gateway.errors import InvalidInput, NotFound, QuotaExceeded
from vocelio.gateway.model.tenant import Department
from vocelio.gateway.model.types import ResourceName
from vocelio.gateway.store.audit import Actor, dump_json
from vocelio.gateway.store.db.database import Database
from vocelio.gateway.store.db.schema import departments
from vocelio.gateway.store.tenants import tenants
from vocelio.gateway.store.tenants.tenants import bump_tenant_revision, lock_tenant

MAX_DEPARTMENTS = 500  # of a tenant: all are loaded for its first call


class DepartmentResource(Department, frozen=True, kw_only=True):
    """A department with the name that transfers use."""

    name: ResourceName


async def list_departments(database: Database, tenant: str) -> dict[str, Department]:
    """Return a tenant's departments, by name."""
    async with database.read() as connection:
        return await load_departments(connection, tenant)


async def load_departments(connection: AsyncConnection, tenant: str) -> dict[str, Department]:
    """Return a tenant's departments, by name."""
    query = select(departments).where(departments.c.tenant_id == tenant).order_by(departments.c.name)
    return {row.name: msgspec.json.decode(row.settings, type=Department) for row in await connection.execute(query)}


async def put_department(database: Database, actor: Actor, name: str, department: Department) -> None:
    """Create or replace a department. Raises InvalidInput, QuotaExceeded."""
    _check_hours(department)
    async with database.transaction() as connection:
        await lock_tenant(connection, actor.tenant)
        existing = await load_departments(connection, actor.tenant)
        if existing.get(name) == department:
            return
        if problems := validation.check_department(
            await tenants.load_dial_context(connection, actor.tenant), department
        ):
            raise InvalidInput("Invalid department.", problems)
        if name not in existing and len(existing) >= MAX_DEPARTMENTS:
            raise QuotaExceeded(f"A tenant can have at most {MAX_DEPARTMENTS} departments. Delete one first.")
        values = {"settings": dump_json(department), "updated_at": actor.now}
        statement = database.upsert(departments).values(tenant_id=actor.tenant, name=name, **values)
        await connection.execute(statement.on_conflict_do_update(index_elements=["tenant_id", "name"], set_=values))
        await bump_tenant_revision(connection, actor.tenant)
        await actor.audit(connection, "department.updated", name, existing.get(name), department)


async def delete_department(database: Database, actor: Actor, name: str) -> None:
    """Delete a department. Raises NotFound."""
    async with database.transaction() as connection:
        await lock_tenant(connection, actor.tenant)
        before = (await load_departments(connection, actor.tenant)).get(name)
        if before is None:
            raise NotFound
        where = (departments.c.tenant_id == actor.tenant, departments.c.name == name)
        await connection.execute(delete(departments).where(*where))
        await bump_tenant_revision(connection, actor.tenant)
        await actor.audit(connection, "department.deleted", name, before)


def _check_hours(department: Department) -> None:
    hour_problems = department.hours.problems() if department.hours else ()
    problems = [Diagnostic(f"hours.{path}", "hours", message) for path, message in hour_problems]
    if problems:
        raise InvalidInput("Invalid opening hours.", problems)
