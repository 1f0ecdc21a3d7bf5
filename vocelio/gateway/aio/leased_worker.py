"""Leased worker: the background loop of one process that leases due tasks and processes a few of them at a time.

It works beside live calls, so concurrency is bounded, and no failure of a task or of the database ends the loop.
"""

import asyncio
import logging
import secrets
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Generic, TypeVar

from vocelio.gateway.errors import DatabaseUnavailable

LOG = logging.getLogger(__name__)

POLL_INTERVAL_SECONDS = 5.0  # until tasks of other processes, and those due for another attempt, are noticed
FAILURE_PAUSE_SECONDS = 10.0  # for which a task that raised an error keeps its slot, so that failures stay few

TaskT = TypeVar("TaskT")


class LeasedWorker(ABC, Generic[TaskT]):
    """Base class of workers. ``worker_id`` is the owner of this process's leases.

    Processing is canceled after ``lease_seconds``: then another worker may have the task.
    """

    def __init__(self, name: str, concurrency: int, lease_seconds: float) -> None:
        self.worker_id = secrets.token_hex(8)
        self._name, self._concurrency, self._lease_seconds = name, concurrency, lease_seconds
        self._wakeup = asyncio.Event()
        self._in_progress: set[asyncio.Task[None]] = set()  # at most ``concurrency``
        self._loop_task: asyncio.Task[None] | None = None

    @abstractmethod
    async def _lease_due(self, limit: int) -> Sequence[TaskT]:
        """Lease up to ``limit`` due tasks. Raises DatabaseUnavailable."""

    @abstractmethod
    async def _process(self, task: TaskT) -> None:
        """Process a leased task and end its lease. After an error the lease runs out by itself."""

    @abstractmethod
    async def _release_leases(self) -> None:
        """End all leases of ``worker_id``. Raises DatabaseUnavailable."""

    async def start(self) -> None:
        """Start the loop."""
        self._loop_task = asyncio.create_task(self._run(), name=self._name)

    def notify(self) -> None:
        """Look for due tasks now instead of at the next poll."""
        self._wakeup.set()

    async def aclose(self) -> None:
        """Cancel tasks in progress and release their leases, so that other processes continue at once."""
        tasks = [*self._in_progress, *([self._loop_task] if self._loop_task else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        try:
            await self._release_leases()
        except DatabaseUnavailable:
            LOG.info("%s: could not release leases; they end within %g s", self._name, self._lease_seconds)

    async def process_due(self, limit: int | None = None) -> int:
        """Process due tasks one after another, at most ``limit``; return how many. Raises what ``_process`` raises."""
        count = 0
        while (limit is None or count < limit) and (tasks := await self._lease_due(1)):
            await self._process(tasks[0])
            count += 1
        return count

    async def _run(self) -> None:
        while True:
            self._wakeup.clear()
            if not await self._start_due():
                await wait_for_event(self._wakeup, POLL_INTERVAL_SECONDS)

    async def _start_due(self) -> bool:
        """Start as many due tasks as there are free slots; return whether any was started."""
        slots = self._concurrency - len(self._in_progress)
        if not slots:
            return False
        try:
            tasks = await self._lease_due(slots)
        except DatabaseUnavailable:  # the database has logged the reason
            return False
        except Exception:
            LOG.exception("%s: could not lease due tasks; retrying in %g s", self._name, POLL_INTERVAL_SECONDS)
            return False
        for task in tasks:
            processing = asyncio.create_task(self._process_safely(task), name=f"{self._name} task")
            self._in_progress.add(processing)
            processing.add_done_callback(self._on_task_done)
        return bool(tasks)

    async def _process_safely(self, task: TaskT) -> None:
        try:
            async with asyncio.timeout(self._lease_seconds):
                await self._process(task)
            return
        except DatabaseUnavailable as error:
            LOG.warning("%s: a task was interrupted: %s; it is retried when its lease ends", self._name, error)
        except Exception:
            LOG.exception("%s: a task failed; it is retried when its lease ends", self._name)
        await asyncio.sleep(FAILURE_PAUSE_SECONDS)

    def _on_task_done(self, processing: asyncio.Task[None]) -> None:
        self._in_progress.discard(processing)
        self.notify()


async def wait_for_event(event: asyncio.Event, timeout_seconds: float) -> None:
    """Wait until the event is set or the time is over."""
    try:
        async with asyncio.timeout(max(timeout_seconds, 0.0)):
            await event.wait()
    except TimeoutError:
        return
