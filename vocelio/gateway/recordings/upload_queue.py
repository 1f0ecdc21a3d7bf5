"""A retry queue for jobs of recordings: a few run concurrently, in order, and each is retried until it succeeds.

Submitting a job never waits. While the storage or database is unavailable one job probes and the others wait; past the
bound the oldest are dropped. Worker tasks exist only while there are jobs. Each job runs in the log context in which it
was submitted, so that log lines name its call and are redacted as its tenant wants.
"""

import asyncio
import logging
from collections import deque
from contextlib import suppress
from typing import Protocol

from vocelio.gateway import logs
from vocelio.gateway.errors import DatabaseUnavailable

LOG = logging.getLogger(__name__)

RETRY_DELAY_SECONDS = 1.0


class Job(Protocol):
    """A job; ``size`` is the memory that it holds, in bytes."""

    @property
    def size(self) -> int: ...

    async def run(self) -> None:
        """Run the job. It is retried after DatabaseUnavailable, of which StorageUnavailable is a subclass."""

    def on_dropped(self, reason: str) -> None:
        """Handle the loss of the job; ``reason`` is readable text."""


class RetryQueue:
    """Runs ``concurrency`` jobs at a time and holds at most ``max_bytes``; jobs of size 0 are never dropped."""

    def __init__(self, name: str, concurrency: int, max_bytes: int = 0) -> None:
        self._name, self._concurrency, self._max_bytes = name, concurrency, max_bytes
        self._jobs: deque[tuple[Job, logs.LogContext | None]] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._active_workers = 0  # not len(_tasks): a finished task stays in the set for a moment
        self._probe_lock = asyncio.Lock()
        self._unavailable = False
        self.queued_bytes = 0
        self.dropped = 0

    def submit(self, job: Job) -> None:
        """Queue a job."""
        self._jobs.append((job, logs.current_context()))
        self.queued_bytes += job.size
        while self.queued_bytes > self._max_bytes and self._jobs and job.size:
            self._drop(*self._jobs.popleft(), "the storage did not accept it in time")
        if self._active_workers < min(self._concurrency, len(self._jobs)):
            self._active_workers += 1
            task = asyncio.get_running_loop().create_task(self._run_worker(), name=f"{self._name} of recordings")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def aclose(self, timeout_seconds: float) -> None:
        """Wait until all jobs are done, at most for the timeout; then drop the rest."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_seconds):
                while self._tasks:  # more jobs may be submitted meanwhile
                    await asyncio.wait(self._tasks)
        late = list(self._tasks)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
        while self._jobs:
            self._drop(*self._jobs.popleft(), "the process was shut down")

    async def _run_worker(self) -> None:
        try:
            while self._jobs:
                if not self._unavailable:
                    await self._run_next()
                    continue
                async with self._probe_lock:
                    if self._unavailable:
                        await asyncio.sleep(RETRY_DELAY_SECONDS)
                        await self._run_next()
        finally:
            self._active_workers -= 1

    async def _run_next(self) -> None:
        """Run the next job, if another worker has not taken it."""
        if not self._jobs:
            return
        job, context = self._jobs.popleft()
        with logs.use_context(context):
            await self._run_job(job, context)

    async def _run_job(self, job: Job, context: logs.LogContext | None) -> None:
        try:
            await job.run()
        except DatabaseUnavailable:
            self._unavailable = True
            self._jobs.appendleft((job, context))
        except asyncio.CancelledError:
            self._jobs.appendleft((job, context))
            raise
        except Exception:  # a defect must not stop the other recordings
            LOG.exception("queue %s: a job failed and is dropped", self._name)
            self._drop(job, context, "an internal error, see the log")
        else:
            self._unavailable = False
            self.queued_bytes -= job.size

    def _drop(self, job: Job, context: logs.LogContext | None, reason: str) -> None:
        self.queued_bytes -= job.size
        self.dropped += 1
        with logs.use_context(context):
            job.on_dropped(reason)
