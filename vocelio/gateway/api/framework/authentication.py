"""Who asks: from a key to an actor. Whose things are at hand, the key alone says; a platform key names a tenant.

Every key that is no good gets the same answer, whatever it lacks. The key is read for each request, so that revoking
it counts at once.
"""

from collections.abc import Sequence
from contextlib import suppress

import msgspec
from starlette.requests import HTTPConnection

from vocelio.gateway.api.framework.concurrency_limit import ConcurrencyLimiter
from vocelio.gateway.api.framework.rate_limit import RateLimits, TokenBuckets
from vocelio.gateway.clock import WallClock
from vocelio.gateway.errors import BadRequest, DatabaseUnavailable, Forbidden, NotFound, Unauthorized
from vocelio.gateway.model.roles import PERMISSIONS, Permission
from vocelio.gateway.store import api_keys
from vocelio.gateway.store.api_keys import KeyOwner
from vocelio.gateway.store.audit import Actor
from vocelio.gateway.store.db.database import Database
from vocelio.gateway.store.tenants import tenants

TENANT_HEADER = "Vocelio-Tenant"
AUTH_SCHEME = "bearer"
LAST_USED_TIMEOUT_SECONDS = 1.0  # that the key was used is nice to know, and nothing waits longer for it


class AccessRule(msgspec.Struct, frozen=True):
    """What a key's role must allow; ``tenant`` says that it is about one tenant's things. See Operation."""

    permission: Permission | None
    requires_tenant: bool = True


class Authenticator:
    """Lets good keys in, each as often as it may. ``places`` are those that may ask the database at a time."""

    def __init__(
        self, database: Database, wall: WallClock, limits: RateLimits, limiter: ConcurrencyLimiter | None = None
    ) -> None:
        self._database, self.wall = database, wall
        self.limiter = limiter or ConcurrencyLimiter()
        self._request_buckets = TokenBuckets(limits.requests_per_second, limits.request_burst, wall)
        self._failure_buckets = TokenBuckets(limits.failures_per_second, limits.failure_burst, wall)

    async def authenticate(self, rule: AccessRule, request: HTTPConnection, request_id: str) -> Actor:
        """Who asks for the operation. Raises Unauthorized, Forbidden, TooMany, BadRequest, NotFound."""
        now = self.wall()
        if rule.permission is None:
            return Actor("", "viewer", "", request_id, now)
        holder = await self._find_owner(request, now)
        self._request_buckets.acquire(holder.key_id)
        if rule.permission not in PERMISSIONS[holder.role]:
            raise Forbidden(f"A key of the role {holder.role} may not do that.")
        tenant = await self._resolve_tenant(rule, holder, request.headers.getlist(TENANT_HEADER))
        return Actor(holder.key_id, holder.role, tenant, request_id, now)

    async def authenticate_ticket(self, key_id: str, tenant: str, request_id: str) -> Actor:
        """The key of that id, which somebody has vouched for, with what it may do now. Raises Unauthorized."""
        now = self.wall()
        holder = await api_keys.find_owner_by_id(self._database, key_id, now)
        if holder is None or holder.tenant not in ("", tenant):
            raise Unauthorized("The ticket's key is not good any more.")
        self._request_buckets.acquire(holder.key_id)
        return Actor(holder.key_id, holder.role, tenant, request_id, now)

    async def _find_owner(self, request: HTTPConnection, now: int) -> KeyOwner:
        """A good key passes even where others fail all the time: both may come through the same proxy."""
        holder = await api_keys.find_owner(
            self._database, _parse_bearer_key(request.headers.getlist("Authorization")), now
        )
        if holder is None:
            raise self.unauthorized(request, "This needs a key that is good: Authorization: Bearer voc_...")
        with suppress(DatabaseUnavailable):  # what the request is about may still be read
            await self._database.with_timeout(api_keys.touch(self._database, holder, now), LAST_USED_TIMEOUT_SECONDS)
        return holder

    def unauthorized(self, request: HTTPConnection, reason: str) -> Unauthorized:
        """The answer to whoever has nothing that is good. Raises TooMany when that comes too often."""
        self._failure_buckets.acquire(request.client.host if request.client else "")
        return Unauthorized(reason)

    async def _resolve_tenant(self, rule: AccessRule, owner: KeyOwner, tenant_headers: Sequence[str]) -> str:
        if owner.tenant:
            return owner.tenant
        if not tenant_headers and not rule.requires_tenant:
            return ""
        if len(tenant_headers) != 1:
            raise BadRequest(f"A platform key names one tenant by the header {TENANT_HEADER}.")
        if not await tenants.tenant_exists(self._database, tenant_headers[0]):
            raise NotFound
        return tenant_headers[0]


def _parse_bearer_key(headers: Sequence[str]) -> str:
    """The key that the header Authorization has, or nothing."""
    scheme, _, key = (headers[0] if len(headers) == 1 else "").partition(" ")
    return key.strip() if scheme.lower() == AUTH_SCHEME else ""
