"""/v1/keys and /v1/me."""

from typing import Annotated

import msgspec
from msgspec import Meta

from vocelio.gateway.api.framework.operation import ApiResponse, PageQuery, RequestContext
from vocelio.gateway.model.roles import PERMISSIONS, Permission, Role
from vocelio.gateway.model.types import PATTERN_END
from vocelio.gateway.store import api_keys
from vocelio.gateway.store.api_keys import ApiKey, CreatedApiKey, NewApiKey
from vocelio.gateway.store.db.pagination import Page

KeyId = Annotated[str, Meta(pattern=f"^[0-9a-f]{{16}}{PATTERN_END}", description="the middle part of a key")]


class CurrentKey(msgspec.Struct, frozen=True):
    """Whose key it is. ``tenant`` is the one whose things are at hand; a platform key's may be empty."""

    key: str
    role: Role
    tenant: str
    permissions: list[Permission]


async def list_keys(context: RequestContext, *, query: PageQuery) -> Page[ApiKey]:
    """The keys, newest first; of a platform key that names no tenant, the platform's."""
    return await api_keys.list_keys(context.database, context.tenant, query.limit, query.cursor)


async def create_key(context: RequestContext, *, body: NewApiKey) -> ApiResponse[CreatedApiKey]:
    """Make a key. Its secret is shown in this one answer only.

    A role can be given that allows no more than one's own. A platform key that names no tenant makes platform keys.
    """
    made = await api_keys.create_key(context.database, context.actor, body)
    return ApiResponse(made, 201, location=f"/v1/keys/{made.id}")


async def get_key(context: RequestContext, *, key: KeyId) -> ApiKey:
    """One key, without its secret."""
    return await api_keys.get_key(context.database, context.tenant, key)


async def revoke_key(context: RequestContext, *, key: KeyId) -> None:
    """Revoke a key, at once. A key cannot revoke itself."""
    await api_keys.revoke_key(context.database, context.actor, key)


async def get_current_key(context: RequestContext) -> CurrentKey:
    """Whose key this is, and what it may do."""
    actor = context.actor
    return CurrentKey(actor.key_id, actor.role, actor.tenant, sorted(PERMISSIONS[actor.role]))
