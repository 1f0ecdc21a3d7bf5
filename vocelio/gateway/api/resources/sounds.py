"""/v1/sounds."""

from vocelio.gateway.api.framework.operation import Context
from vocelio.gateway.model.types import Name
from vocelio.gateway.store.tenants import sounds
from vocelio.gateway.store.tenants.sounds import Sound


async def every(context: Context) -> list[Sound]:
    """The tenant's stored sounds."""
    return await sounds.every(context.database, context.tenant)


async def put(context: Context, *, name: Name, body: bytes) -> Sound:
    """Store a sound, which the flows play by its name: a WAV file with 16-bit samples, at most five minutes."""
    return await sounds.put(context.database, context.actor, name, body)


async def remove(context: Context, *, name: Name) -> None:
    """Remove a sound. Where a flow plays it, nothing is heard from then on."""
    await sounds.remove(context.database, context.actor, name)
