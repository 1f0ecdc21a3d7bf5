"""Authentication and rate limits: from an API key or a WebSocket ticket to an actor.

The key alone decides about the tenant; a platform key names one in a header. All invalid keys get the same answer.
The key is read from the database for each request, so that it is revoked at once.
"""

from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import msgspec
from starlette.requests import HTTPConnection

from vocelio.gateway.clock import WallClock
from vocelio.gateway.crypto import TokenSigner
from vocelio.gateway.errors import (
    BadRequest,
    DatabaseUnavailable,
    Forbidden,
    NotFound,
    RateLimited,
    TenantRequired,
    Unauthenticated,
)
from vocelio.gateway.model.roles import PERMISSIONS, Permission
from vocelio.gateway.store import api_keys
from vocelio.gateway.store.api_keys import KeyOwner
from vocelio.gateway.store.audit import Actor, sortable_id
from vocelio.gateway.store.db.database import Database
from vocelio.gateway.store.tenants import tenants

TENANT_HEADER = "Vocelio-Tenant"
AUTH_SCHEME = "bearer"
LAST_USED_TIMEOUT_SECONDS = 1.0  # for the write of `last_used_at`, which no request waits longer for
MAX_BUCKETS = 10_000  # a few hundred bytes each
TICKET_LIFETIME_SECONDS = 30


class AccessRule(msgspec.Struct, frozen=True):
    """What an operation needs: a permission of the key's role, and a tenant if ``requires_tenant``."""

    permission: Permission | None
    requires_tenant: bool = True


@dataclass(frozen=True)
class RateLimits:
    """Token bucket settings: for the requests of one key, and for failed authentications of one client address."""

    requests_per_second: float = 50.0
    request_burst: int = 200
    failures_per_second: float = 1.0
    failure_burst: int = 20


class TokenBuckets:
    """Rate limiter: a token bucket per name, in the memory of this process.

    A bucket gets ``rate`` tokens a second, ``burst`` at most, and each request takes one. A full bucket need not be
    kept. Beyond MAX_BUCKETS the least recently used one is dropped, and starts full again.
    """

    def __init__(self, rate: float, burst: int, wall: WallClock) -> None:
        self._rate, self._burst, self._wall = rate, burst, wall
        self._buckets: OrderedDict[str, tuple[float, int]] = OrderedDict()  # name: (tokens, at)

    def acquire(self, name: str) -> None:
        """Take a token. Raises RateLimited, and takes none, if the bucket is empty."""
        now = self._wall()
        tokens, at = self._buckets.get(name, (float(self._burst), now))
        tokens = min(self._burst, tokens + max(0, now - at) / 1e6 * self._rate)  # the wall clock may be put back
        if tokens < 1:
            raise RateLimited("There are too many requests. Slow down.", (1 - tokens) / self._rate)
        self._buckets[name] = tokens - 1, now
        self._buckets.move_to_end(name)
        if len(self._buckets) > MAX_BUCKETS:
            self._buckets.popitem(last=False)


class TicketClaims(msgspec.Struct, frozen=True):
    """Content of a ticket: the audit entry that its use adds, the key that issued it, and the tenant.

    The tenant is empty for a platform key that monitors all tenants.
    """

    audit_id: str
    key_id: str
    tenant: str


class WebSocketTickets:
    """Issue and verify tickets, which browsers use in place of a key: they cannot send headers with a WebSocket.

    Any process verifies what another has issued. A ticket is single use: see ``store.audit.consume_ticket``.
    ``secret_keys`` are secret texts, newest first; see TokenSigner.
    """

    def __init__(self, secret_keys: Sequence[str] = ()) -> None:
        self._signer = TokenSigner(secret_keys, "websocket ticket")

    def issue(self, actor: Actor) -> str:
        """Return a ticket that stands for the actor's key."""
        return self._signer.sign(f"{sortable_id(actor.now)}.{actor.key_id}.{actor.tenant}", actor.now)

    def verify(self, ticket: str, now: int) -> TicketClaims | None:
        """Return the ticket's claims, or None if it is invalid or expired. Does not know whether it has been used."""
        value = self._signer.verify(ticket, now, TICKET_LIFETIME_SECONDS)
        return None if value is None else TicketClaims(*value.split("."))


class Authenticator:
    """Authenticates API keys and applies the rate limits."""

    def __init__(self, database: Database, wall: WallClock, limits: RateLimits) -> None:
        self._database, self.wall = database, wall
        self._request_buckets = TokenBuckets(limits.requests_per_second, limits.request_burst, wall)
        self._failure_buckets = TokenBuckets(limits.failures_per_second, limits.failure_burst, wall)

    async def authenticate(self, rule: AccessRule, request: HTTPConnection, request_id: str) -> Actor:
        """Return the actor of a request.

        Raises Unauthenticated, Forbidden, RateLimited, BadRequest, NotFound.
        """
        now = self.wall()
        if rule.permission is None:
            return Actor("", "viewer", "", request_id, now)
        owner = await self._find_owner(request, now)
        self._request_buckets.acquire(owner.key_id)
        if rule.permission not in PERMISSIONS[owner.role]:
            raise Forbidden(f"The role {owner.role} does not have the permission `{rule.permission}`.")
        tenant = await self._resolve_tenant(rule, owner, request.headers.getlist(TENANT_HEADER))
        return Actor(owner.key_id, owner.role, tenant, request_id, now)

    async def authenticate_ticket(self, key_id: str, tenant: str, request_id: str) -> Actor:
        """Return the actor of a verified ticket, with what its key may do now. Raises Unauthenticated."""
        now = self.wall()
        owner = await api_keys.find_owner_by_id(self._database, key_id, now)
        if owner is None or owner.tenant not in ("", tenant):
            raise Unauthenticated("The key that issued the ticket is no longer valid.")
        self._request_buckets.acquire(owner.key_id)
        return Actor(owner.key_id, owner.role, tenant, request_id, now)

    async def _find_owner(self, request: HTTPConnection, now: int) -> KeyOwner:
        """A valid key passes however many failures its address has: both may come through the same proxy."""
        key = _parse_bearer_key(request.headers.getlist("Authorization"))
        owner = await api_keys.find_owner(self._database, key, now)
        if owner is None:
            raise self.unauthenticated(request, "A valid API key is needed: Authorization: Bearer voc_...")
        with suppress(DatabaseUnavailable):  # the request itself may still be answered
            await self._database.with_timeout(api_keys.touch(self._database, owner, now), LAST_USED_TIMEOUT_SECONDS)
        return owner

    def unauthenticated(self, request: HTTPConnection, reason: str) -> Unauthenticated:
        """Count a failed authentication and return its error. Raises RateLimited if the address has too many."""
        self._failure_buckets.acquire(request.client.host if request.client else "")
        return Unauthenticated(reason)

    async def _resolve_tenant(self, rule: AccessRule, owner: KeyOwner, tenant_headers: Sequence[str]) -> str:
        if owner.tenant:
            return owner.tenant
        if not tenant_headers and not rule.requires_tenant:
            return ""
        if not tenant_headers:
            raise TenantRequired("A platform key has to name the tenant.")
        if len(tenant_headers) > 1:
            raise BadRequest(f"The header {TENANT_HEADER} is given more than once.")
        if not await tenants.tenant_exists(self._database, tenant_headers[0]):
            raise NotFound
        return tenant_headers[0]


def _parse_bearer_key(headers: Sequence[str]) -> str:
    """Return the key in the Authorization header, or an empty text."""
    scheme, _, key = (headers[0] if len(headers) == 1 else "").partition(" ")
    return key.strip() if scheme.lower() == AUTH_SCHEME else ""
