"""/v1/tenants, /v1/tenant, /v1/keys, /v1/me and /v1/rates: administration of tenants."""

from typing import Annotated

import msgspec
from msgspec import Meta

from vocelio.gateway.api.framework.operation import ApiResponse, PageQuery, RequestContext
from vocelio.gateway.errors import Conflict
from vocelio.gateway.model.roles import PERMISSIONS, Permission, Role
from vocelio.gateway.model.tenant import Tenant
from vocelio.gateway.model.types import PATTERN_END, TenantId
from vocelio.gateway.store import api_keys
from vocelio.gateway.store.api_keys import ApiKey, CreatedApiKey, NewApiKey
from vocelio.gateway.store.db.pagination import Page
from vocelio.gateway.store.tenants import rates, tenants, twilio_accounts
from vocelio.gateway.store.tenants.rates import NewRate, Rate, RateCard
from vocelio.gateway.store.tenants.tenants import PlatformTenantUpdate, TenantResource, TenantUpdate
from vocelio.gateway.store.tenants.twilio_accounts import TwilioAccount
from vocelio.gateway.twilio.provisioning import ownership

KeyId = Annotated[str, Meta(pattern=f"^[0-9a-f]{{16}}{PATTERN_END}", description="the middle part of a key")]


class CurrentKey(msgspec.Struct, frozen=True):
    """The key of the request. ``tenant`` is the one that it works for; empty for a platform key that names none."""

    key_id: str
    role: Role
    tenant: str
    permissions: list[Permission]


async def list_tenants(context: RequestContext, *, query: PageQuery) -> Page[TenantResource]:
    """List all tenants."""
    return await tenants.list_tenants(context.database, query.limit, query.cursor)


async def create_tenant(context: RequestContext, *, body: Tenant) -> ApiResponse[TenantResource]:
    """Create a tenant. Omitted settings get their defaults."""
    made = await tenants.create_tenant(context.database, context.actor, body)
    return ApiResponse(made, 201, location=f"/v1/tenants/{made.id}")


async def get_tenant(context: RequestContext, *, tenant: TenantId) -> TenantResource:
    """Get a tenant."""
    return await tenants.get_tenant(context.database, tenant)


async def update_tenant(context: RequestContext, *, tenant: TenantId, body: PlatformTenantUpdate) -> TenantResource:
    """Change a tenant's settings, or suspend it. Omitted settings stay as they are.

    The keys of a suspended tenant are invalid, and its numbers are not answered. Tenants cannot be deleted.
    """
    return await tenants.update_tenant(context.database, context.actor, tenant, body)


async def get_own_tenant(context: RequestContext) -> TenantResource:
    """Get the key's tenant."""
    return await tenants.get_tenant(context.database, context.tenant)


async def update_own_tenant(context: RequestContext, *, body: TenantUpdate) -> TenantResource:
    """Change the settings of the key's tenant. Omitted settings stay as they are."""
    return await tenants.update_tenant(context.database, context.actor, context.tenant, body)


async def put_twilio_account(context: RequestContext, *, body: TwilioAccount) -> None:
    """Set the tenant's own Twilio account, if Twilio accepts its auth token, which is stored encrypted.

    Those of the tenant's numbers that the account has belong to it from now on. Numbers of a former account lead
    nowhere.
    """
    if context.provisioner is None:
        raise Conflict("This gateway has no access to Twilio.")
    account_numbers = await ownership.verify_account(context.provisioner.context, body)
    await twilio_accounts.put_twilio_account(context.database, context.cipher, context.actor, body, account_numbers)
    context.provisioner.notify()


async def delete_twilio_account(context: RequestContext) -> None:
    """Remove the tenant's own Twilio account. Numbers that belong to it lead nowhere from now on."""
    await twilio_accounts.delete_twilio_account(context.database, context.actor)
    if context.provisioner is not None:
        context.provisioner.notify()


async def list_keys(context: RequestContext, *, query: PageQuery) -> Page[ApiKey]:
    """List API keys, newest first; the platform's for a platform key that names no tenant."""
    return await api_keys.list_keys(context.database, context.tenant, query.limit, query.cursor)


async def create_key(context: RequestContext, *, body: NewApiKey) -> ApiResponse[CreatedApiKey]:
    """Create an API key. Its secret is part of this response only.

    The new role may allow no more than the role of the key that creates it. A platform key that names no tenant creates
    platform keys.
    """
    made = await api_keys.create_key(context.database, context.actor, body)
    return ApiResponse(made, 201, location=f"/v1/keys/{made.id}")


async def get_key(context: RequestContext, *, key: KeyId) -> ApiKey:
    """Get an API key, without its secret."""
    return await api_keys.get_key(context.database, context.tenant, key)


async def revoke_key(context: RequestContext, *, key: KeyId) -> None:
    """Revoke an API key with immediate effect. A key cannot revoke itself."""
    await api_keys.revoke_key(context.database, context.actor, key)


async def get_current_key(context: RequestContext) -> CurrentKey:
    """Get the id, role, tenant and permissions of the key of the request."""
    actor = context.actor
    return CurrentKey(actor.key_id, actor.role, actor.tenant, sorted(PERMISSIONS[actor.role]))


async def get_rates(context: RequestContext) -> RateCard:
    """Get what a minute costs the tenant now, by voice tier, and all rates that apply to it."""
    return await rates.get_rate_card(context.database, context.tenant, context.actor.now)


async def create_rate(context: RequestContext, *, body: NewRate) -> ApiResponse[Rate]:
    """Set what a minute at a voice tier costs the tenant, from now or from a later instant on."""
    return ApiResponse(await rates.create_rate(context.database, context.actor, body), status=201)


async def get_default_rates(context: RequestContext) -> RateCard:
    """Get what a minute costs tenants without rates of their own."""
    return await rates.get_rate_card(context.database, "", context.actor.now)


async def create_default_rate(context: RequestContext, *, body: NewRate) -> ApiResponse[Rate]:
    """Set what a minute at a voice tier costs tenants without a rate of their own for it."""
    return ApiResponse(await rates.create_default_rate(context.database, context.actor, body), status=201)
