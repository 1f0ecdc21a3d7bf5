"""/v1/secrets."""

from vocelio.gateway.api.framework.operation import Context
from vocelio.gateway.store.tenants import secrets
from vocelio.gateway.store.tenants.secrets import NewSecret, Secret, SecretName


async def every(context: Context) -> list[Secret]:
    """The names of the tenant's secrets. No answer ever holds a value."""
    return await secrets.every(context.database, context.tenant)


async def put(context: Context, *, name: SecretName, body: NewSecret) -> Secret:
    """Keep a secret. The requests of flows use it in their headers as `{{ secret.name }}`."""
    return await secrets.put(context.database, context.vault, context.actor, name, body.value)


async def remove(context: Context, *, name: SecretName) -> None:
    """Forget a secret. Requests that use it leave by `error` from then on."""
    await secrets.remove(context.database, context.actor, name)
