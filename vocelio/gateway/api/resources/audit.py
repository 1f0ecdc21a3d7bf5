"""/v1/audit."""

from typing import Annotated

from msgspec import Meta

from vocelio.gateway.api.framework.operation import PageQuery, RequestContext
from vocelio.gateway.store import audit
from vocelio.gateway.store.audit import AuditEntry
from vocelio.gateway.store.db.pagination import Page


class AuditQuery(PageQuery, frozen=True):
    """``action`` is such as `flow.promoted`, ``target`` the name of what was changed."""

    action: Annotated[str, Meta(max_length=40)] = ""
    target: Annotated[str, Meta(max_length=200)] = ""


async def list_audit_entries(context: RequestContext, *, query: AuditQuery) -> Page[AuditEntry]:
    """Every change, newest first; of a platform key that names no tenant, everybody's."""
    return await audit.list_entries(
        context.database, context.tenant, query.limit, query.cursor, action=query.action, target=query.target
    )
