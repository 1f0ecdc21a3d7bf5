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
from vocelio.gateway.aio.tasks import TaskSet
from vocelio.gateway.clock import WallClock
from vocelio.gateway.dialing import plan as dial_plan
from vocelio.gateway.dialing.plan import DialPlan, DialRejection
from vocelio.gateway.errors import DatabaseUnavailable
from vocelio.gateway.model.directory import CallConfig, Directory
from vocelio.gateway.model.tenant import Tenant

LOG = logging.getLogger(__name__)

HOUR_MICROSECONDS = 3_600_000_000  # microseconds
LOG_INTERVAL_MICROSECONDS = (
    60_000_000  # microseconds, of one tenant in the log: a robot may try a hundred times a second
)
MAX_LOGGED_TENANTS = 1_000
RETRY_SECONDS = 0.5
# A flow whose exit leads back to the transfer goes round that often, not for ever at once; sooner than a caller is
# asked to wait a moment.
MIN_REJECTION_INTERVAL_SECONDS = 0.7

DialDecision = DialPlan | DialRejection


class TransferAuthorizer:
    """The rules, for all calls of a process."""

    def __init__(self, directory: Directory, wall_clock: WallClock) -> None:
        self._directory, self._wall_clock = directory, wall_clock
        self._last_logged: LRUCache[str, int] = LRUCache(MAX_LOGGED_TENANTS)

    async def authorize(self, config: CallConfig, transfer: Transfer, caller: str) -> DialDecision:
        """The plan, or why there is none. ``caller`` is E.164, empty when withheld. Raises StoreUnavailable."""
        tenant, now = config.tenant, self._wall_clock()
        asked = dial_plan.needs_ownership_check(config, transfer, caller)
        own = not asked or await self._directory.is_tenant_number(tenant.id, transfer.caller_id)
        plan = dial_plan.build_plan(config, transfer, caller, now=now, is_own_number=own)
        if isinstance(plan, DialPlan) and await self._is_over_limit(tenant, now):
            return DialRejection("limit_reached")
        return plan

    async def _is_over_limit(self, tenant: Tenant, now: int) -> bool:
        there = await self._directory.count_transfers(tenant.id, now - HOUR_MICROSECONDS)
        hourly = there.started >= tenant.max_transfers_per_hour
        if not hourly and there.active < tenant.max_concurrent_transfers:
            return False
        if now - self._last_logged.get(tenant.id, now - LOG_INTERVAL_MICROSECONDS) >= LOG_INTERVAL_MICROSECONDS:
            self._last_logged[tenant.id] = now
            counted = (there.started, there.active)
            LOG.warning("%s is at its limit of transfers: %d within an hour, %d at once", tenant.id, *counted)
        return True


class PendingAuthorization:
    """One call's question. ``decided`` hears the answer, unless this is closed before."""

    def __init__(self, authorizer: TransferAuthorizer, on_decision: Callable[[Transfer, DialDecision], None]) -> None:
        self._authorizer, self._on_decision = authorizer, on_decision
        self._tasks = TaskSet()  # one at a time, but for what an operator left behind
        self._last_rejected_at: float | None = None

    def start(self, config: CallConfig, transfer: Transfer, caller: str) -> None:
        """Ask whether it may begin."""
        self._tasks.start(self._authorize(config, transfer, caller), f"transfer {transfer.id}")

    def close(self) -> None:
        """Nobody wants to know any more."""
        self._tasks.close()

    async def wait_closed(self) -> None:
        """Until nothing of it is left."""
        await self._tasks.wait_closed()

    async def _authorize(self, config: CallConfig, transfer: Transfer, caller: str) -> None:
        decision = await self._authorize_with_retries(config, transfer, caller)
        if isinstance(decision, DialRejection):
            await self._throttle_rejections()
        self._on_decision(transfer, decision)

    async def _authorize_with_retries(self, config: CallConfig, transfer: Transfer, caller: str) -> DialDecision:
        while True:
            try:
                return await self._authorizer.authorize(config, transfer, caller)
            except DatabaseUnavailable:
                await asyncio.sleep(RETRY_SECONDS)

    async def _throttle_rejections(self) -> None:
        now = asyncio.get_running_loop().time()
        if self._last_rejected_at is not None:
            await asyncio.sleep(max(0.0, self._last_rejected_at + MIN_REJECTION_INTERVAL_SECONDS - now))
        self._last_rejected_at = asyncio.get_running_loop().time()
