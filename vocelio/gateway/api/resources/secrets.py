"""/v1/secrets."""

from vocelio.gateway.api.framework.operation import RequestContext
from vocelio.gateway.store.tenants import secrets
from vocelio.gateway.store.tenants.secrets import NewSecret, Secret, SecretName


async def list_secrets(context: RequestContext) -> list[Secret]:
    """The names of the tenant's secrets. No answer ever holds a value."""
    return await secrets.list_secrets(context.database, context.tenant)


async def put_secret(context: RequestContext, *, name: SecretName, body: NewSecret) -> Secret:
    """Keep a secret. The requests of flows use it in their headers as `{{ secret.name }}`."""
    return await secrets.put_secret(context.database, context.cipher, context.actor, name, body.value)


async def delete_secret(context: RequestContext, *, name: SecretName) -> None:
    """Forget a secret. Requests that use it leave by `error` from then on."""
    await secrets.delete_secret(context.database, context.actor, name)
