"""Authorization of transfers, while the caller is still connected to the media stream.

All reasons for a rejection are checked before the transfer is committed, so that a rejected caller keeps the stream and
the flow continues at once. The tenant's limits are counted in the database, for all processes. While the database does
not answer nothing is authorized; the check is repeated until the call gives up.
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

HOUR_MICROSECONDS = 3_600_000_000
LOG_INTERVAL_MICROSECONDS = 60_000_000  # between two log lines of one tenant: a robot may try 100 times a second
MAX_LOGGED_TENANTS = 1_000
RETRY_SECONDS = 0.5
# So that a flow whose exit leads back to its transfer node cannot spin; shorter than the delay after which a caller
# hears the hold message.
MIN_REJECTION_INTERVAL_SECONDS = 0.7

DialDecision = DialPlan | DialRejection


class TransferAuthorizer:
    """Authorizes the transfers of all calls of a process."""

    def __init__(self, directory: Directory, wall_clock: WallClock) -> None:
        self._directory, self._wall_clock = directory, wall_clock
        self._last_logged: LRUCache[str, int] = LRUCache(MAX_LOGGED_TENANTS)

    async def authorize(self, config: CallConfig, transfer: Transfer, caller: str) -> DialDecision:
        """Return the dial plan, or a rejection. ``caller`` is E.164, empty if withheld. Raises DatabaseUnavailable."""
        tenant, now = config.tenant, self._wall_clock()
        must_check = dial_plan.needs_ownership_check(config, transfer, caller)
        is_own = not must_check or await self._directory.is_tenant_number(
            tenant.id, transfer.caller_id, config.account_sid
        )
        plan = dial_plan.build_plan(config, transfer, caller, now=now, is_own_number=is_own)
        if isinstance(plan, DialPlan) and await self._is_over_limit(tenant, now):
            return DialRejection("limit_reached")
        return plan

    async def _is_over_limit(self, tenant: Tenant, now: int) -> bool:
        counts = await self._directory.count_transfers(tenant.id, now - HOUR_MICROSECONDS)
        hourly = counts.started >= tenant.max_transfers_per_hour
        if not hourly and counts.active < tenant.max_concurrent_transfers:
            return False
        if now - self._last_logged.get(tenant.id, now - LOG_INTERVAL_MICROSECONDS) >= LOG_INTERVAL_MICROSECONDS:
            self._last_logged[tenant.id] = now
            message = "tenant %s has reached its transfer limit: %d within an hour, %d concurrent; rejecting transfers"
            LOG.warning(message, tenant.id, counts.started, counts.active)
        return True


class PendingAuthorization:
    """The authorization in progress of one call. ``on_decision`` is not called after ``close``."""

    def __init__(self, authorizer: TransferAuthorizer, on_decision: Callable[[Transfer, DialDecision], None]) -> None:
        self._authorizer, self._on_decision = authorizer, on_decision
        self._tasks = TaskSet()  # one at a time, except after an operator's transfer
        self._last_rejected_at: float | None = None

    def start(self, config: CallConfig, transfer: Transfer, caller: str) -> None:
        self._tasks.start(self._authorize(config, transfer, caller), f"transfer {transfer.id}")

    def close(self) -> None:
        self._tasks.close()

    async def wait_closed(self) -> None:
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
