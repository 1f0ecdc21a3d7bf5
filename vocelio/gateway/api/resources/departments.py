"""/v1/departments."""

from vocelio.gateway.api.framework.operation import RequestContext
from vocelio.gateway.errors import NotFound
from vocelio.gateway.model.tenant import Department
from vocelio.gateway.model.types import ResourceName
from vocelio.gateway.store.tenants import departments
from vocelio.gateway.store.tenants.departments import DepartmentResource


async def list_departments(context: RequestContext) -> list[DepartmentResource]:
    """The tenant's departments."""
    found = await departments.list_departments(context.database, context.tenant)
    return [_to_resource(name, department) for name, department in found.items()]


async def get_department(context: RequestContext, *, name: ResourceName) -> DepartmentResource:
    """One department."""
    department = (await departments.list_departments(context.database, context.tenant)).get(name)
    if department is None:
        raise NotFound
    return _to_resource(name, department)


async def put_department(context: RequestContext, *, name: ResourceName, body: Department) -> DepartmentResource:
    """Make a department, or change one as a whole. Its numbers must be such as the tenant's transfers may ring.

    `whisper` is a Liquid template that reads `caller.number`, `number`, `department` and `tenant.name`.
    """
    await departments.put_department(context.database, context.actor, name, body)
    return _to_resource(name, body)


async def delete_department(context: RequestContext, *, name: ResourceName) -> None:
    """Remove a department. A transfer that names it leaves by `failed` from then on."""
    await departments.delete_department(context.database, context.actor, name)


def _to_resource(name: str, department: Department) -> DepartmentResource:
    return DepartmentResource(
        name=name, **{field: getattr(department, field) for field in Department.__struct_fields__}
    )
