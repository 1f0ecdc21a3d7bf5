"""/v1/tenants, for the platform, and /v1/tenant: one's own."""

from vocelio.gateway.api.framework.operation import Answer, Context, Page
from vocelio.gateway.model.tenant import Tenant
from vocelio.gateway.model.types import TenantId
from vocelio.gateway.store.db.pagination import Items
from vocelio.gateway.store.tenants import tenants
from vocelio.gateway.store.tenants.tenants import Account, KnownTenant, PlatformChange, TenantChange


async def every(context: Context, *, query: Page) -> Items[KnownTenant]:
    """All tenants."""
    return await tenants.every(context.database, query.limit, query.cursor)


async def create(context: Context, *, body: Tenant) -> Answer[KnownTenant]:
    """Make a tenant. What is left out gets its default."""
    made = await tenants.create(context.database, context.actor, body)
    return Answer(made, 201, location=f"/v1/tenants/{made.id}")


async def show(context: Context, *, tenant: TenantId) -> KnownTenant:
    """One tenant."""
    return await tenants.show(context.database, tenant)


async def change(context: Context, *, tenant: TenantId, body: PlatformChange) -> KnownTenant:
    """Change a tenant's settings, or suspend it. What is left out stays as it is.

    The keys of a suspended tenant are no good, and its numbers are not answered. There is no way to delete a tenant.
    """
    return await tenants.change(context.database, context.actor, tenant, body)


async def own(context: Context) -> KnownTenant:
    """The tenant's own settings."""
    return await tenants.show(context.database, context.tenant)


async def change_own(context: Context, *, body: TenantChange) -> KnownTenant:
    """Change the tenant's settings. What is left out stays as it is."""
    return await tenants.change(context.database, context.actor, context.tenant, body)


async def set_account(context: Context, *, body: Account) -> None:
    """Name the tenant's own Twilio account. Its auth token is kept encrypted, and never shown."""
    await tenants.set_account(context.database, context.vault, context.actor, body)


async def remove_account(context: Context) -> None:
    """Forget the tenant's own Twilio account: its calls come by the platform's."""
    await tenants.remove_account(context.database, context.actor)
