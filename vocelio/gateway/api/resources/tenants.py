"""/v1/tenants, for the platform, and /v1/tenant: one's own."""

from vocelio.gateway.api.framework.operation import ApiResponse, PageQuery, RequestContext
from vocelio.gateway.model.tenant import Tenant
from vocelio.gateway.model.types import TenantId
from vocelio.gateway.store.db.pagination import Page
from vocelio.gateway.store.tenants import tenants, twilio_accounts
from vocelio.gateway.store.tenants.tenants import PlatformTenantUpdate, TenantResource, TenantUpdate
from vocelio.gateway.store.tenants.twilio_accounts import TwilioAccount


async def list_tenants(context: RequestContext, *, query: PageQuery) -> Page[TenantResource]:
    """All tenants."""
    return await tenants.list_tenants(context.database, query.limit, query.cursor)


async def create_tenant(context: RequestContext, *, body: Tenant) -> ApiResponse[TenantResource]:
    """Make a tenant. What is left out gets its default."""
    made = await tenants.create_tenant(context.database, context.actor, body)
    return ApiResponse(made, 201, location=f"/v1/tenants/{made.id}")


async def get_tenant(context: RequestContext, *, tenant: TenantId) -> TenantResource:
    """One tenant."""
    return await tenants.get_tenant(context.database, tenant)


async def update_tenant(context: RequestContext, *, tenant: TenantId, body: PlatformTenantUpdate) -> TenantResource:
    """Change a tenant's settings, or suspend it. What is left out stays as it is.

    The keys of a suspended tenant are no good, and its numbers are not answered. There is no way to delete a tenant.
    """
    return await tenants.update_tenant(context.database, context.actor, tenant, body)


async def get_own_tenant(context: RequestContext) -> TenantResource:
    """The tenant's own settings."""
    return await tenants.get_tenant(context.database, context.tenant)


async def update_own_tenant(context: RequestContext, *, body: TenantUpdate) -> TenantResource:
    """Change the tenant's settings. What is left out stays as it is."""
    return await tenants.update_tenant(context.database, context.actor, context.tenant, body)


async def put_twilio_account(context: RequestContext, *, body: TwilioAccount) -> None:
    """Name the tenant's own Twilio account. Its auth token is kept encrypted, and never shown."""
    await twilio_accounts.put_twilio_account(context.database, context.cipher, context.actor, body)


async def delete_twilio_account(context: RequestContext) -> None:
    """Forget the tenant's own Twilio account: its calls come by the platform's."""
    await twilio_accounts.delete_twilio_account(context.database, context.actor)
