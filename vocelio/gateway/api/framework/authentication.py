"""Who asks: from a key to an actor. Whose things are at hand, the key alone says; a platform key names a tenant.

Every key that is no good gets the same answer, whatever it lacks. The key is read for each request, so that revoking
it counts at once.
"""

from collections.abc import Sequence
from contextlib import suppress

import msgspec
from starlette.requests import HTTPConnection

from vocelio.gateway.api.framework.concurrency_limit import Places
from vocelio.gateway.api.framework.rate_limit import Buckets, Limits
from vocelio.gateway.clock import WallClock
from vocelio.gateway.errors import BadRequest, Forbidden, NotFound, StoreUnavailable, Unauthorized
from vocelio.gateway.model.roles import PERMISSIONS, Permission
from vocelio.gateway.store import api_keys
from vocelio.gateway.store.api_keys import Holder
from vocelio.gateway.store.audit.actor import Actor
from vocelio.gateway.store.db.database import Database
from vocelio.gateway.store.tenants import tenants

TENANT = "Vocelio-Tenant"
SCHEME = "bearer"
LAST_USED_SECONDS = 1.0  # that the key was used is nice to know, and nothing waits longer for it


class Entrance(msgspec.Struct, frozen=True):
    """What a key's role must allow; ``tenant`` says that it is about one tenant's things. See Operation."""

    permission: Permission | None
    tenant: bool = True


class Gate:
    """Lets good keys in, each as often as it may. ``places`` are those that may ask the database at a time."""

    def __init__(self, database: Database, wall: WallClock, limits: Limits, places: Places | None = None) -> None:
        self._database, self.wall = database, wall
        self.places = places or Places()
        self._requests = Buckets(limits.requests, limits.at_once, wall)
        self._failures = Buckets(limits.failures, limits.failures_at_once, wall)

    async def admit(self, operation: Entrance, request: HTTPConnection, identifier: str) -> Actor:
        """Who asks for the operation. Raises Unauthorized, Forbidden, TooMany, BadRequest, NotFound."""
        now = self.wall()
        if operation.permission is None:
            return Actor("", "viewer", "", identifier, now)
        holder = await self._holder(request, now)
        self._requests.take(holder.key)
        if operation.permission not in PERMISSIONS[holder.role]:
            raise Forbidden(f"A key of the role {holder.role} may not do that.")
        tenant = await self._tenant(operation, holder, request.headers.getlist(TENANT))
        return Actor(holder.key, holder.role, tenant, identifier, now)

    async def named(self, key: str, tenant: str, identifier: str) -> Actor:
        """The key of that id, which somebody has vouched for, with what it may do now. Raises Unauthorized."""
        now = self.wall()
        holder = await api_keys.named(self._database, key, now)
        if holder is None or holder.tenant not in ("", tenant):
            raise Unauthorized("The ticket's key is not good any more.")
        self._requests.take(holder.key)
        return Actor(holder.key, holder.role, tenant, identifier, now)

    async def _holder(self, request: HTTPConnection, now: int) -> Holder:
        """A good key passes even where others fail all the time: both may come through the same proxy."""
        holder = await api_keys.holder(self._database, _bearer(request.headers.getlist("Authorization")), now)
        if holder is None:
            raise self.unauthorized(request, "This needs a key that is good: Authorization: Bearer voc_...")
        with suppress(StoreUnavailable):  # what the request is about may still be read
            await self._database.in_time(api_keys.used(self._database, holder, now), LAST_USED_SECONDS)
        return holder

    def unauthorized(self, request: HTTPConnection, why: str) -> Unauthorized:
        """The answer to whoever has nothing that is good. Raises TooMany when that comes too often."""
        self._failures.take(request.client.host if request.client else "")
        return Unauthorized(why)

    async def _tenant(self, operation: Entrance, holder: Holder, named: Sequence[str]) -> str:
        if holder.tenant:
            return holder.tenant
        if not named and not operation.tenant:
            return ""
        if len(named) != 1:
            raise BadRequest(f"A platform key names one tenant by the header {TENANT}.")
        if not await tenants.exists(self._database, named[0]):
            raise NotFound
        return named[0]


def _bearer(values: Sequence[str]) -> str:
    """The key that the header Authorization has, or nothing."""
    scheme, _, key = (values[0] if len(values) == 1 else "").partition(" ")
    return key.strip() if scheme.lower() == SCHEME else ""
