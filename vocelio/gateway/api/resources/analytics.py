"""/v1/analytics."""

from vocelio.gateway.api.framework.operation import RequestContext
from vocelio.gateway.store.calls.analytics import Analytics, AnalyticsQuery, get_analytics


async def get_flow_analytics(context: RequestContext, *, query: AnalyticsQuery) -> Analytics:
    """How the flows did in a period: calls, outcomes, times, latencies, exits and cost, overall and by flow."""
    return await get_analytics(context.database, context.tenant, query, context.actor.now)
