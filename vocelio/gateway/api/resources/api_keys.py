"""/v1/keys and /v1/me."""

from typing import Annotated

import msgspec
from msgspec import Meta

from vocelio.gateway.api.framework.operation import Answer, Context, Page
from vocelio.gateway.model.roles import PERMISSIONS, Permission, Role
from vocelio.gateway.model.types import END
from vocelio.gateway.store import api_keys
from vocelio.gateway.store.api_keys import Key, NewKey, NewlyMadeKey
from vocelio.gateway.store.db.pagination import Items

KeyId = Annotated[str, Meta(pattern=f"^[0-9a-f]{{16}}{END}", description="the middle part of a key")]


class Me(msgspec.Struct, frozen=True):
    """Whose key it is. ``tenant`` is the one whose things are at hand; a platform key's may be empty."""

    key: str
    role: Role
    tenant: str
    permissions: list[Permission]


async def every(context: Context, *, query: Page) -> Items[Key]:
    """The keys, newest first; of a platform key that names no tenant, the platform's."""
    return await api_keys.every(context.database, context.tenant, query.limit, query.cursor)


async def create(context: Context, *, body: NewKey) -> Answer[NewlyMadeKey]:
    """Make a key. Its secret is shown in this one answer only.

    A role can be given that allows no more than one's own. A platform key that names no tenant makes platform keys.
    """
    made = await api_keys.create(context.database, context.actor, body)
    return Answer(made, 201, location=f"/v1/keys/{made.id}")


async def show(context: Context, *, key: KeyId) -> Key:
    """One key, without its secret."""
    return await api_keys.show(context.database, context.tenant, key)


async def revoke(context: Context, *, key: KeyId) -> None:
    """Revoke a key, at once. A key cannot revoke itself."""
    await api_keys.revoke(context.database, context.actor, key)


async def me(context: Context) -> Me:
    """Whose key this is, and what it may do."""
    actor = context.actor
    return Me(actor.key, actor.role, actor.tenant, sorted(PERMISSIONS[actor.role]))
