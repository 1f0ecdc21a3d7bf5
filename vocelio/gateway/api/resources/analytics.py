"""/v1/analytics."""

from vocelio.gateway.api.framework.operation import Context
from vocelio.gateway.store.calls.analytics import Analytics, Asked, analysed


async def analytics(context: Context, *, query: Asked) -> Analytics:
    """How the flows did in a period: calls, outcomes, times, latencies, exits and cost, overall and by flow."""
    return await analysed(context.database, context.tenant, query, context.actor.at)
