"""/v1/rates."""

from vocelio.gateway.api.framework.operation import ApiResponse, RequestContext
from vocelio.gateway.store.tenants import rates
from vocelio.gateway.store.tenants.rates import NewRate, Rate, RateCard


async def get_rates(context: RequestContext) -> RateCard:
    """What a minute costs the tenant at each voice tier now, and the rates set for it and for all."""
    return await rates.get_rate_card(context.database, context.tenant, context.actor.now)


async def create_rate(context: RequestContext, *, body: NewRate) -> ApiResponse[Rate]:
    """Set what a minute at a tier costs the tenant, from now on or from a later instant."""
    return ApiResponse(await rates.create_rate(context.database, context.actor, body), status=201)


async def get_default_rates(context: RequestContext) -> RateCard:
    """What a minute costs tenants that have no rates of their own."""
    return await rates.get_rate_card(context.database, "", context.actor.now)


async def create_default_rate(context: RequestContext, *, body: NewRate) -> ApiResponse[Rate]:
    """Set what a minute at a tier costs tenants that have no rate of their own for it."""
    return ApiResponse(await rates.create_default_rate(context.database, context.actor, body), status=201)
