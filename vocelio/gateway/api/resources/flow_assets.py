"""/v1/departments, /v1/secrets and /v1/sounds: what flows refer to by name."""

from vocelio.gateway.api.framework.operation import RequestContext
from vocelio.gateway.errors import NotFound
from vocelio.gateway.model.tenant import Department
from vocelio.gateway.model.types import ResourceName
from vocelio.gateway.store.db.pagination import Page
from vocelio.gateway.store.tenants import departments, secrets, sounds
from vocelio.gateway.store.tenants.departments import DepartmentResource
from vocelio.gateway.store.tenants.secrets import NewSecret, Secret, SecretName
from vocelio.gateway.store.tenants.sounds import Sound


async def list_departments(context: RequestContext) -> Page[DepartmentResource]:
    """List the tenant's departments, all on one page."""
    found = await departments.list_departments(context.database, context.tenant)
    return Page([_to_resource(name, department) for name, department in found.items()])


async def get_department(context: RequestContext, *, name: ResourceName) -> DepartmentResource:
    """Get a department."""
    department = (await departments.list_departments(context.database, context.tenant)).get(name)
    if department is None:
        raise NotFound
    return _to_resource(name, department)


async def put_department(context: RequestContext, *, name: ResourceName, body: Department) -> DepartmentResource:
    """Create or replace a department. The tenant's dial rules must allow its numbers.

    `whisper` is a Liquid template with the variables `caller.number`, `number`, `department` and `tenant.name`.
    """
    await departments.put_department(context.database, context.actor, name, body)
    return _to_resource(name, body)


async def delete_department(context: RequestContext, *, name: ResourceName) -> None:
    """Delete a department. Transfers to it take the exit `failed` from then on."""
    await departments.delete_department(context.database, context.actor, name)


def _to_resource(name: str, department: Department) -> DepartmentResource:
    return DepartmentResource(
        name=name, **{field: getattr(department, field) for field in Department.__struct_fields__}
    )


async def list_secrets(context: RequestContext) -> Page[Secret]:
    """List the names of the tenant's secrets, all on one page. No response ever contains a value."""
    return Page(await secrets.list_secrets(context.database, context.tenant))


async def put_secret(context: RequestContext, *, name: SecretName, body: NewSecret) -> Secret:
    """Create or replace a secret. HTTP requests of flows use it in their headers as `{{ secret.name }}`."""
    return await secrets.put_secret(context.database, context.cipher, context.actor, name, body.value)


async def delete_secret(context: RequestContext, *, name: SecretName) -> None:
    """Delete a secret. HTTP requests that use it take the exit `error` from then on."""
    await secrets.delete_secret(context.database, context.actor, name)


async def list_sounds(context: RequestContext) -> Page[Sound]:
    """List the tenant's sounds, all on one page."""
    return Page(await sounds.list_sounds(context.database, context.tenant))


async def put_sound(context: RequestContext, *, name: ResourceName, body: bytes) -> Sound:
    """Create or replace a sound that flows play by its name: a WAV file with 16-bit samples, at most five minutes."""
    return await sounds.put_sound(context.database, context.actor, name, body)


async def delete_sound(context: RequestContext, *, name: ResourceName) -> None:
    """Delete a sound. Flows that play it are silent there from then on."""
    await sounds.delete_sound(context.database, context.actor, name)
