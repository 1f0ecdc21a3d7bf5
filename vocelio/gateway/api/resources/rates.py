"""/v1/rates."""

from vocelio.gateway.api.framework.operation import Answer, Context
from vocelio.gateway.store.tenants import rates
from vocelio.gateway.store.tenants.rates import NewRate, Rate, RateCard


async def every(context: Context) -> RateCard:
    """What a minute costs the tenant at each voice tier now, and the rates set for it and for all."""
    return await rates.every(context.database, context.tenant, context.actor.at)


async def set(context: Context, *, body: NewRate) -> Answer[Rate]:  # noqa: A001 (called as rates.set only)
    """Set what a minute at a tier costs the tenant, from now on or from a later instant."""
    return Answer(await rates.put(context.database, context.actor, body), status=201)


async def defaults(context: Context) -> RateCard:
    """What a minute costs tenants that have no rates of their own."""
    return await rates.every(context.database, "", context.actor.at)


async def set_default(context: Context, *, body: NewRate) -> Answer[Rate]:
    """Set what a minute at a tier costs tenants that have no rate of their own for it."""
    return Answer(await rates.put_default(context.database, context.actor, body), status=201)
