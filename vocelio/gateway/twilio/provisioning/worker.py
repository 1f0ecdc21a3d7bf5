"""The registrar: sets numbers at Twilio to what is wanted of them, in the background of every process that serves.

The database says what is to be done, and who is at it. A number that cannot be set is tried again for ever, ever more
seldom; nobody waits for it, and a process that ends gives back what it was at.
"""

import asyncio
import logging
import secrets

from vocelio.gateway.aio.backoff import Backoff
from vocelio.gateway.crypto.encryption import DecryptionError
from vocelio.gateway.errors import DatabaseUnavailable, TwilioError
from vocelio.gateway.store.provisioning import queue
from vocelio.gateway.store.provisioning.queue import ProvisioningRow
from vocelio.gateway.twilio.provisioning.context import ProvisioningContext
from vocelio.gateway.twilio.provisioning.reconcile import ProvisioningResult, Restored, reconcile

LOG = logging.getLogger(__name__)

MAX_CONCURRENT_NUMBERS = 8  # numbers: Twilio's API takes more, but calls come first
PROCESS_TIMEOUT_SECONDS = 45.0  # of one number: two requests, each tried three times
LEASE_SECONDS = 60  # more than that, so that whoever is at it has ended before another begins
POLL_INTERVAL_SECONDS = 5.0  # after which another process's wishes, and what failed, are seen
BACKOFF = Backoff(initial_seconds=5, max_seconds=1_800)  # at most 30 min until a fix made at Twilio is noticed

SECOND_MICROSECONDS = 1_000_000  # microseconds
INTERNAL_ERROR_MESSAGE = "Internal error; see the gateway's log."


class NumberProvisioner:
    """One process's worker."""

    def __init__(self, context: ProvisioningContext) -> None:
        self.context = context
        self._lease_owner = secrets.token_hex(8)
        self._wakeup = asyncio.Event()
        self._in_progress: set[asyncio.Task[None]] = set()  # at most AT_ONCE
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin. What no account was there for is looked at again: there may be one now."""
        self._task = asyncio.create_task(self._run(), name="number provisioning")

    def notify(self) -> None:
        """Something is wanted: look now, not at the next turn."""
        self._wakeup.set()

    async def aclose(self) -> None:
        """End, and let others have what is under way."""
        tasks = [*self._in_progress, *([self._task] if self._task else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        try:
            await queue.release_all_leases(self.context.database, self._lease_owner)
        except DatabaseUnavailable:
            LOG.info("what was under way is others' when its lease ends")
        await self.context.twilio_client.aclose()

    async def process_due(self) -> int:
        """Carry out what is due, all of it, and wait for that: how much it was."""
        done = 0
        while tasks := await self._lease_due(MAX_CONCURRENT_NUMBERS):
            await asyncio.gather(*map(self._process, tasks))
            done += len(tasks)
        return done

    async def _run(self) -> None:
        await self._requeue_unmanaged()
        while True:
            self._wakeup.clear()
            if await self._start_due():
                continue
            try:
                async with asyncio.timeout(POLL_INTERVAL_SECONDS):
                    await self._wakeup.wait()
            except TimeoutError:
                continue

    async def _requeue_unmanaged(self) -> None:
        if self.context.credentials.platform.has_rest_api:
            try:
                await queue.requeue_unmanaged(self.context.database, self.context.wall())
            except DatabaseUnavailable:
                LOG.warning("numbers that had no Twilio account wait for the next start")

    async def _start_due(self) -> bool:
        """Begin as many as there is room for; whether any was."""
        try:
            tasks = await self._lease_due(MAX_CONCURRENT_NUMBERS - len(self._in_progress))
        except DatabaseUnavailable:
            return False
        except Exception:  # the database refuses the question itself: whatever that is, the next turn may be better
            LOG.exception("what is due at Twilio cannot be read")
            return False
        for task in tasks:
            carrying = asyncio.create_task(self._process(task), name=f"number provisioning of {task.number}")
            self._in_progress.add(carrying)
            carrying.add_done_callback(self._on_task_done)
        return bool(tasks)

    def _on_task_done(self, processing: asyncio.Task[None]) -> None:
        self._in_progress.discard(processing)
        self.notify()

    async def _lease_due(self, limit: int) -> list[ProvisioningRow]:
        now = self.context.wall()
        if not limit:
            return []
        return await queue.lease_due(
            self.context.database, self._lease_owner, now, now + LEASE_SECONDS * SECOND_MICROSECONDS, limit
        )

    async def _process(self, task: ProvisioningRow) -> None:
        """Raises nothing: what the database does not take is done again when the lease ends."""
        pause = 0.0
        outcome: ProvisioningResult | Restored | None
        try:
            async with asyncio.timeout(PROCESS_TIMEOUT_SECONDS):
                outcome = await reconcile(self.context, task, self.context.wall() + LEASE_SECONDS * SECOND_MICROSECONDS)
        except TwilioError as error:
            outcome, pause = ProvisioningResult("failed", str(error)), error.retry_after_seconds
        except DecryptionError as error:
            outcome = ProvisioningResult("failed", str(error))
        except TimeoutError:
            outcome = ProvisioningResult("failed", "Twilio's API takes too long.")
        except DatabaseUnavailable:
            return
        except Exception:
            LOG.exception("the registration of %s failed", task.number)
            outcome = ProvisioningResult("failed", INTERNAL_ERROR_MESSAGE)
        try:
            await self._save_result(task, outcome, pause)
        except DatabaseUnavailable:
            LOG.warning("what became of %s at Twilio is found out again", task.number)

    async def _save_result(
        self, task: ProvisioningRow, result: ProvisioningResult | Restored | None, min_delay_seconds: float
    ) -> None:
        match result:
            case None:
                await queue.release_lease(self.context.database, task)
            case Restored():
                if await queue.delete_restored(self.context.database, task):
                    self.context.publish("number.restored", task.tenant, number=task.number)
            case ProvisioningResult(state="provisioned" | "not_managed"):
                await self._finish(task, result)
            case ProvisioningResult():
                await self._schedule_retry(task, result, min_delay_seconds)

    async def _finish(self, task: ProvisioningRow, result: ProvisioningResult) -> None:
        now = self.context.wall()
        told = await queue.finish_task(self.context.database, task, result.state, now, error=result.error)
        if told and result.repaired:
            self.context.publish("number.repaired", task.tenant, number=task.number)
        elif told and result.state == "provisioned":
            self.context.publish("number.provisioned", task.tenant, number=task.number)

    async def _schedule_retry(
        self, task: ProvisioningRow, result: ProvisioningResult, min_delay_seconds: float
    ) -> None:
        """It is tried again; the same problem is told once."""
        now, attempts = self.context.wall(), task.failed_attempts + 1
        due = now + round(max(min_delay_seconds, BACKOFF.delay_seconds(attempts)) * SECOND_MICROSECONDS)
        told = await queue.finish_task(
            self.context.database, task, result.state, now, error=result.error, failed_attempts=attempts, due_at=due
        )
        if told and (result.state, result.error) != (task.state, task.error):
            LOG.warning("%s (tenant %s): %s", task.number, task.tenant, result.error)
            problem = result.error
            self.context.publish("number.provisioning_failed", task.tenant, number=task.number, error=problem)
