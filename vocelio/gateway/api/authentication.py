"""Who asks: from a key to an actor. Whose things are at hand, the key alone says; a platform key names a tenant.

Every key that is no good gets the same answer, whatever it lacks. The key is read for each request, so that revoking
it counts at once.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress

from starlette.requests import Request

from vocelio.gateway.api.limits import Buckets, Limits
from vocelio.gateway.api.operation import Operation
from vocelio.gateway.clock import WallClock
from vocelio.gateway.errors import BadRequest, Forbidden, NotFound, StoreUnavailable, Unauthorized
from vocelio.gateway.store import keys, tenants
from vocelio.gateway.store.actor import Actor
from vocelio.gateway.store.database import Database
from vocelio.gateway.store.keys import Holder
from vocelio.gateway.store.roles import PERMISSIONS

TENANT = "Vocelio-Tenant"
SCHEME = "bearer"
AT_ONCE = 8  # of the pool's 20 connections: however slow the API's questions are, calls must get theirs
LAST_USED_SECONDS = 1.0  # that the key was used is nice to know, and nothing waits longer for it


class Gate:
    """Lets good keys in, each as often as it may. ``places`` are those that may ask the database at a time."""

    def __init__(self, database: Database, wall: WallClock, limits: Limits) -> None:
        self._database, self._wall = database, wall
        self.places = asyncio.Semaphore(AT_ONCE)
        self._requests = Buckets(limits.requests, limits.at_once, wall)
        self._failures = Buckets(limits.failures, limits.failures_at_once, wall)

    async def admit(self, operation: Operation, request: Request, identifier: str) -> Actor:
        """Who asks for the operation. Raises Unauthorized, Forbidden, TooMany, BadRequest, NotFound."""
        now = self._wall()
        if operation.permission is None:
            return Actor("", "viewer", "", identifier, now)
        holder = await self._holder(request, now)
        self._requests.take(holder.key)
        if operation.permission not in PERMISSIONS[holder.role]:
            raise Forbidden(f"A key of the role {holder.role} may not do that.")
        tenant = await self._tenant(operation, holder, request.headers.getlist(TENANT))
        return Actor(holder.key, holder.role, tenant, identifier, now)

    async def _holder(self, request: Request, now: int) -> Holder:
        """A good key passes even where others fail all the time: both may come through the same proxy."""
        holder = await keys.holder(self._database, _bearer(request.headers.getlist("Authorization")), now)
        if holder is None:
            self._failures.take(request.client.host if request.client else "")
            raise Unauthorized("This needs a key that is good: Authorization: Bearer voc_...")
        with suppress(StoreUnavailable):  # what the request is about may still be read
            await self._database.in_time(keys.used(self._database, holder, now), LAST_USED_SECONDS)
        return holder

    async def _tenant(self, operation: Operation, holder: Holder, named: Sequence[str]) -> str:
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
