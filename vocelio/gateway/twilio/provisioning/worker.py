"""Number provisioning worker: bring numbers at Twilio to their desired state, in the background of every process.

A number that cannot be set is retried forever, with growing delays. No request ever waits for it.
"""

import asyncio
import logging
from collections.abc import Sequence

from vocelio.gateway.aio.backoff import Backoff
from vocelio.gateway.aio.leased_worker import LeasedWorker
from vocelio.gateway.crypto import DecryptionError
from vocelio.gateway.errors import DatabaseUnavailable, TwilioError
from vocelio.gateway.store import number_provisioning
from vocelio.gateway.store.number_provisioning import ProvisioningRow
from vocelio.gateway.twilio.provisioning.context import ProvisioningContext
from vocelio.gateway.twilio.provisioning.reconcile import ProvisioningResult, Restored, reconcile

LOG = logging.getLogger(__name__)

MAX_CONCURRENT_NUMBERS = 8  # Twilio's API takes more, but calls come first
PROCESS_TIMEOUT_SECONDS = 45.0  # of one number: two requests with three attempts each
LEASE_SECONDS = 60  # more than that, so that a worker has stopped before another one starts
BACKOFF = Backoff(initial_seconds=5, max_seconds=1_800)  # at most 30 min until a fix made at Twilio is noticed

MICROSECONDS_PER_SECOND = 1_000_000
INTERNAL_ERROR_MESSAGE = "Internal error; see the gateway's log."


class NumberProvisioner(LeasedWorker[ProvisioningRow]):
    """The worker of one process."""

    def __init__(self, context: ProvisioningContext) -> None:
        super().__init__("number provisioning", MAX_CONCURRENT_NUMBERS, LEASE_SECONDS)
        self.context = context
        self._requeue_task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start; numbers for which there was no Twilio account are requeued, since there may be one now."""
        self._requeue_task = asyncio.create_task(self._requeue_unmanaged(), name="number provisioning requeue")
        await super().start()

    async def aclose(self) -> None:
        """Cancel all work, and release leases so that other processes continue at once."""
        if self._requeue_task:
            self._requeue_task.cancel()
            await asyncio.gather(self._requeue_task, return_exceptions=True)
        await super().aclose()
        await self.context.twilio_client.aclose()

    async def _requeue_unmanaged(self) -> None:
        if not self.context.credentials.platform.has_rest_api:
            return
        try:
            await number_provisioning.requeue_unmanaged(self.context.database, self.context.wall())
        except DatabaseUnavailable:
            LOG.warning("database unavailable: numbers without a Twilio account are requeued at the next start")
        self.notify()

    async def _lease_due(self, limit: int) -> Sequence[ProvisioningRow]:
        now = self.context.wall()
        lease_until = now + LEASE_SECONDS * MICROSECONDS_PER_SECOND
        return await number_provisioning.lease_due(self.context.database, self.worker_id, now, lease_until, limit)

    async def _release_leases(self) -> None:
        await number_provisioning.release_all_leases(self.context.database, self.worker_id)

    async def _process(self, task: ProvisioningRow) -> None:
        """Raises nothing: what the database does not accept is done again when the lease ends."""
        min_delay_seconds = 0.0
        result: ProvisioningResult | Restored | None
        try:
            async with asyncio.timeout(PROCESS_TIMEOUT_SECONDS):
                lease_until = self.context.wall() + LEASE_SECONDS * MICROSECONDS_PER_SECOND
                result = await reconcile(self.context, task, lease_until)
        except TwilioError as error:
            result, min_delay_seconds = ProvisioningResult("failed", str(error)), error.retry_after_seconds
        except DecryptionError as error:
            result = ProvisioningResult("failed", str(error))
        except TimeoutError:
            result = ProvisioningResult("failed", "Twilio's API takes too long.")
        except DatabaseUnavailable:
            return
        except Exception:
            LOG.exception("tenant %s: provisioning of %s failed; it is retried", task.tenant, task.number)
            result = ProvisioningResult("failed", INTERNAL_ERROR_MESSAGE)
        try:
            await self._save_result(task, result, min_delay_seconds)
        except DatabaseUnavailable:
            LOG.warning("database unavailable: provisioning of %s is repeated when its lease ends", task.number)

    async def _save_result(
        self, task: ProvisioningRow, result: ProvisioningResult | Restored | None, min_delay_seconds: float
    ) -> None:
        match result:
            case None:
                await number_provisioning.release_lease(self.context.database, task)
            case Restored():
                if await number_provisioning.delete_restored(self.context.database, task):
                    self.context.publish("number.restored", task.tenant, number=task.number)
            case ProvisioningResult(state="provisioned" | "not_managed"):
                await self._finish(task, result)
            case ProvisioningResult():
                await self._schedule_retry(task, result, min_delay_seconds)

    async def _finish(self, task: ProvisioningRow, result: ProvisioningResult) -> None:
        now = self.context.wall()
        saved = await number_provisioning.finish_task(self.context.database, task, result.state, now, result.error)
        if saved and result.repaired:
            self.context.publish("number.repaired", task.tenant, number=task.number)
        elif saved and result.state == "provisioned":
            self.context.publish("number.provisioned", task.tenant, number=task.number)

    async def _schedule_retry(
        self, task: ProvisioningRow, result: ProvisioningResult, min_delay_seconds: float
    ) -> None:
        """Schedule the next attempt; a repeated error is reported only once."""
        saved = await number_provisioning.fail_task(
            self.context.database, task, result.state, result.error, self.context.wall(), BACKOFF, min_delay_seconds
        )
        if saved and (result.state, result.error) != (task.state, task.error):
            LOG.warning("tenant %s: provisioning of %s failed: %s", task.tenant, task.number, result.error)
            error = result.error
            self.context.publish("number.provisioning_failed", task.tenant, number=task.number, error=error)
