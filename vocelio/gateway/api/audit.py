"""/v1/audit."""

from typing import Annotated

from msgspec import Meta

from vocelio.gateway.api.operation import Context, Page
from vocelio.gateway.store import audit
from vocelio.gateway.store.audit import Entry
from vocelio.gateway.store.pages import Items


class AuditQuery(Page, frozen=True):
    """``action`` is such as `flow.promoted`, ``target`` the name of what was changed."""

    action: Annotated[str, Meta(max_length=40)] = ""
    target: Annotated[str, Meta(max_length=200)] = ""


async def every(context: Context, *, query: AuditQuery) -> Items[Entry]:
    """Every change, newest first; of a platform key that names no tenant, everybody's."""
    return await audit.every(
        context.database, context.tenant, query.limit, query.cursor, action=query.action, target=query.target
    )
