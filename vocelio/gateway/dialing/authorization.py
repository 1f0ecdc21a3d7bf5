"""Whether a transfer may begin: the last word on it, while its caller is still on the line with us.

Everything that could refuse it is asked here, before anything is put on record, so a refused caller keeps the stream
and goes on in the flow at once. The tenant's limits are counted in the database, for all processes. While that does
not answer nothing is allowed: it is asked again until whoever waits gives up.
"""

import asyncio
import logging
from collections.abc import Callable

from cachetools import LRUCache

from vocelio.engine.actions import Transfer
from vocelio.gateway.aio.task_set import Tasks
from vocelio.gateway.clock import WallClock
from vocelio.gateway.dialing import plan as dial_plan
from vocelio.gateway.dialing.plan import Plan, Refusal
from vocelio.gateway.errors import StoreUnavailable
from vocelio.gateway.model.directory import Assignment, Site
from vocelio.gateway.model.tenant import Tenant

LOG = logging.getLogger(__name__)

HOUR = 3_600_000_000  # microseconds
TELL_EVERY = 60_000_000  # microseconds, of one tenant in the log: a robot may try a hundred times a second
TENANTS_TOLD = 1_000
ASK_AGAIN_SECONDS = 0.5
# A flow whose exit leads back to the transfer goes round that often, not for ever at once; sooner than a caller is
# asked to wait a moment.
REFUSE_EVERY_SECONDS = 0.7

Decision = Plan | Refusal


class Clearance:
    """The rules, for all calls of a process."""

    def __init__(self, site: Site, wall: WallClock) -> None:
        self._site, self._wall = site, wall
        self._told: LRUCache[str, int] = LRUCache(TENANTS_TOLD)

    async def decide(self, assignment: Assignment, transfer: Transfer, caller: str) -> Decision:
        """The plan, or why there is none. ``caller`` is E.164, empty when withheld. Raises StoreUnavailable."""
        tenant, now = assignment.tenant, self._wall()
        asked = dial_plan.must_be_owned(assignment, transfer, caller)
        own = not asked or await self._site.owns(tenant.id, transfer.caller_id)
        plan = dial_plan.plan(assignment, transfer, caller, at=now, own=own)
        if isinstance(plan, Plan) and await self._is_over_a_limit(tenant, now):
            return Refusal("limit")
        return plan

    async def _is_over_a_limit(self, tenant: Tenant, now: int) -> bool:
        there = await self._site.transfers(tenant.id, now - HOUR)
        hourly = there.begun >= tenant.max_transfers_per_hour
        if not hourly and there.under_way < tenant.max_transfers_at_once:
            return False
        if now - self._told.get(tenant.id, now - TELL_EVERY) >= TELL_EVERY:
            self._told[tenant.id] = now
            counted = (there.begun, there.under_way)
            LOG.warning("%s is at its limit of transfers: %d within an hour, %d at once", tenant.id, *counted)
        return True


class Clearing:
    """One call's question. ``decided`` hears the answer, unless this is closed before."""

    def __init__(self, clearance: Clearance, decided: Callable[[Transfer, Decision], None]) -> None:
        self._clearance, self._decided = clearance, decided
        self._tasks = Tasks()  # one at a time, but for what an operator left behind
        self._refused_at: float | None = None

    def begin(self, assignment: Assignment, transfer: Transfer, caller: str) -> None:
        """Ask whether it may begin."""
        self._tasks.begin(self._decide(assignment, transfer, caller), f"transfer {transfer.id}")

    def close(self) -> None:
        """Nobody wants to know any more."""
        self._tasks.close()

    async def wait_closed(self) -> None:
        """Until nothing of it is left."""
        await self._tasks.wait_closed()

    async def _decide(self, assignment: Assignment, transfer: Transfer, caller: str) -> None:
        decision = await self._asked(assignment, transfer, caller)
        if isinstance(decision, Refusal):
            await self._pause()
        self._decided(transfer, decision)

    async def _asked(self, assignment: Assignment, transfer: Transfer, caller: str) -> Decision:
        while True:
            try:
                return await self._clearance.decide(assignment, transfer, caller)
            except StoreUnavailable:
                await asyncio.sleep(ASK_AGAIN_SECONDS)

    async def _pause(self) -> None:
        now = asyncio.get_running_loop().time()
        if self._refused_at is not None:
            await asyncio.sleep(max(0.0, self._refused_at + REFUSE_EVERY_SECONDS - now))
        self._refused_at = asyncio.get_running_loop().time()
