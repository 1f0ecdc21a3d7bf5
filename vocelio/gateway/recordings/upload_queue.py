"""Jobs done beside the calls: a few at once, in order, each tried again until the store takes it.

Whoever puts a job never waits. While the store is away one job alone knocks, and the others wait; past the bound the
oldest are dropped. A task lives only while there is something to do. It works on everybody's jobs, each on behalf
of whoever put it: what is logged is about that call, and redacted as that tenant wants it.
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
    """``size`` is what it holds in memory, in bytes."""

    @property
    def size(self) -> int:
        """Bytes."""
        ...

    async def run(self) -> None:
        """Do it. After StoreUnavailable (StorageUnavailable is one, too) it is tried again."""

    def on_dropped(self, reason: str) -> None:
        """It will never be done. The problem is told in words for people."""


class RetryQueue:
    """``workers`` jobs at once; ``most`` bytes are held at most: jobs without a size are never too many."""

    def __init__(self, name: str, concurrency: int, max_bytes: int = 0) -> None:
        self._name, self._concurrency, self._max_bytes = name, concurrency, max_bytes
        self._jobs: deque[tuple[Job, logs.LogContext | None]] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._active_workers = 0  # not len(_tasks): a task that has found nothing more to do is there for a moment yet
        self._probe_lock = asyncio.Lock()
        self._unavailable = False
        self.queued_bytes = 0
        self.dropped = 0

    def submit(self, job: Job) -> None:
        """Have it done soon."""
        self._jobs.append((job, logs.current_context()))
        self.queued_bytes += job.size
        while self.queued_bytes > self._max_bytes and self._jobs and job.size:
            self._drop(*self._jobs.popleft(), "the storage has not taken it in time")
        if self._active_workers < min(self._concurrency, len(self._jobs)):
            self._active_workers += 1
            task = asyncio.get_running_loop().create_task(self._run_worker(), name=f"{self._name} of recordings")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def aclose(self, timeout_seconds: float) -> None:
        """Until all is done, or the time is over: then what is left is dropped."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_seconds):
                while self._tasks:  # more may come meanwhile
                    await asyncio.wait(self._tasks)
        late = list(self._tasks)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
        while self._jobs:
            self._drop(*self._jobs.popleft(), "the process has ended")

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
        """The next job, if another worker has not taken it."""
        if not self._jobs:
            return
        job, whose = self._jobs.popleft()
        with logs.use_context(whose):
            await self._run_job(job, whose)

    async def _run_job(self, job: Job, context: logs.LogContext | None) -> None:
        try:
            await job.run()
        except DatabaseUnavailable:
            self._unavailable = True
            self._jobs.appendleft((job, context))
        except asyncio.CancelledError:
            self._jobs.appendleft((job, context))
            raise
        except Exception:  # whatever it is, the other recordings go on
            LOG.exception("a job of the %s failed", self._name)
            self._drop(job, context, "the log says why")
        else:
            self._unavailable = False
            self.queued_bytes -= job.size

    def _drop(self, job: Job, context: logs.LogContext | None, reason: str) -> None:
        self.queued_bytes -= job.size
        self.dropped += 1
        with logs.use_context(context):
            job.on_dropped(reason)
