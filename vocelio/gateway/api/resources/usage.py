"""/v1/usage."""

from vocelio.gateway.api.framework.operation import ApiResponse, RequestContext
from vocelio.gateway.store.calls.usage import UsageQuery, UsageReport, query_usage, to_csv

CSV = "text/csv"


async def get_usage(context: RequestContext, *, query: UsageQuery) -> ApiResponse[UsageReport | bytes]:
    """What was used and what it costs, by tenant, flow, number, tier and day.

    A key of a tenant sees its own; a platform key sees the tenant that it names, or all when it names none.
    """
    told = await query_usage(context.database, context.actor, query)
    if query.format == "csv" or (query.format is None and CSV in context.accept_header):
        return ApiResponse(to_csv(told), media_type=CSV)
    return ApiResponse(told)
