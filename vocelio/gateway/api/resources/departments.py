"""/v1/departments."""

from vocelio.gateway.api.framework.operation import Context
from vocelio.gateway.errors import NotFound
from vocelio.gateway.model.tenant import Department
from vocelio.gateway.model.types import Name
from vocelio.gateway.store.tenants import departments
from vocelio.gateway.store.tenants.departments import NamedDepartment


async def every(context: Context) -> list[NamedDepartment]:
    """The tenant's departments."""
    found = await departments.every(context.database, context.tenant)
    return [_named(name, department) for name, department in found.items()]


async def show(context: Context, *, name: Name) -> NamedDepartment:
    """One department."""
    department = (await departments.every(context.database, context.tenant)).get(name)
    if department is None:
        raise NotFound
    return _named(name, department)


async def put(context: Context, *, name: Name, body: Department) -> NamedDepartment:
    """Make a department, or change one as a whole. Its numbers must be such as the tenant's transfers may ring.

    `whisper` is a Liquid template that reads `caller.number`, `number`, `department` and `tenant.name`.
    """
    await departments.put(context.database, context.actor, name, body)
    return _named(name, body)


async def remove(context: Context, *, name: Name) -> None:
    """Remove a department. A transfer that names it leaves by `failed` from then on."""
    await departments.remove(context.database, context.actor, name)


def _named(name: str, department: Department) -> NamedDepartment:
    return NamedDepartment(name=name, **{field: getattr(department, field) for field in Department.__struct_fields__})
