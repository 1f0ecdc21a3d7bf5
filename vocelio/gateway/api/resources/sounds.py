"""/v1/sounds."""

from vocelio.gateway.api.framework.operation import RequestContext
from vocelio.gateway.model.types import ResourceName
from vocelio.gateway.store.tenants import sounds
from vocelio.gateway.store.tenants.sounds import Sound


async def list_sounds(context: RequestContext) -> list[Sound]:
    """The tenant's stored sounds."""
    return await sounds.list_sounds(context.database, context.tenant)


async def put_sound(context: RequestContext, *, name: ResourceName, body: bytes) -> Sound:
    """Store a sound, which the flows play by its name: a WAV file with 16-bit samples, at most five minutes."""
    return await sounds.put_sound(context.database, context.actor, name, body)


async def delete_sound(context: RequestContext, *, name: ResourceName) -> None:
    """Remove a sound. Where a flow plays it, nothing is heard from then on."""
    await sounds.delete_sound(context.database, context.actor, name)
