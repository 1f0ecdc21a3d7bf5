"""/v1/analytics, /v1/usage and /v1/audit: read-only reports about the past."""

from typing import Annotated, Literal

from msgspec import Meta

from vocelio.gateway.api.framework.operation import ApiResponse, PageQuery, RequestContext
from vocelio.gateway.api.resources import usage_csv
from vocelio.gateway.store import audit
from vocelio.gateway.store.audit import AuditEntry
from vocelio.gateway.store.calls import analytics, usage
from vocelio.gateway.store.calls.analytics import Analytics, AnalyticsQuery
from vocelio.gateway.store.calls.usage import UsageQuery, UsageReport
from vocelio.gateway.store.db.pagination import Page

CSV = "text/csv"


class AuditQuery(PageQuery, frozen=True):
    """``action`` is for example `flow.promoted`, ``target`` the name of the changed resource."""

    action: Annotated[str, Meta(max_length=40)] = ""
    target: Annotated[str, Meta(max_length=200)] = ""


class UsageExportQuery(UsageQuery, frozen=True):
    """``format`` takes precedence over the Accept header."""

    format: Literal["json", "csv"] | None = None


async def get_analytics(context: RequestContext, *, query: AnalyticsQuery) -> Analytics:
    """Get the statistics of a period: calls, outcomes, durations, latencies, exits and cost, overall and by flow."""
    return await analytics.get_analytics(context.database, context.tenant, query, context.actor.now)


async def get_usage(context: RequestContext, *, query: UsageExportQuery) -> ApiResponse[UsageReport | bytes]:
    """Get usage and its cost, grouped by tenant, flow, number, tier and day, as JSON or CSV.

    A tenant's key sees its own usage; a platform key that of the tenant it names, or of all tenants if it names none.
    """
    report = await usage.query_usage(context.database, context.actor, query)
    if query.format == "csv" or (query.format is None and CSV in context.accept_header):
        return ApiResponse(usage_csv.to_csv(report), media_type=CSV)
    return ApiResponse(report)


async def list_audit_entries(context: RequestContext, *, query: AuditQuery) -> Page[AuditEntry]:
    """List all changes, newest first; those of all tenants for a platform key that names none."""
    return await audit.list_entries(
        context.database, context.tenant, query.limit, query.cursor, action=query.action, target=query.target
    )
