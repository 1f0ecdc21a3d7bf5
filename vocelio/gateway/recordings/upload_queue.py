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
from vocelio.gateway.errors import StoreUnavailable

LOG = logging.getLogger(__name__)

RETRY_SECONDS = 1.0


class Job(Protocol):
    """``size`` is what it holds in memory, in bytes."""

    @property
    def size(self) -> int:
        """Bytes."""
        ...

    async def run(self) -> None:
        """Do it. After StoreUnavailable (StorageUnavailable is one, too) it is tried again."""

    def dropped(self, problem: str) -> None:
        """It will never be done. The problem is told in words for people."""


class Lane:
    """``workers`` jobs at once; ``most`` bytes are held at most: jobs without a size are never too many."""

    def __init__(self, name: str, workers: int, most: int = 0) -> None:
        self._name, self._workers, self._most = name, workers, most
        self._jobs: deque[tuple[Job, logs.About | None]] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._working = 0  # not len(_tasks): a task that has found nothing more to do is there for a moment yet
        self._knocking = asyncio.Lock()
        self._away = False
        self.held = 0
        self.dropped = 0

    def put(self, job: Job) -> None:
        """Have it done soon."""
        self._jobs.append((job, logs.whose()))
        self.held += job.size
        while self.held > self._most and self._jobs and job.size:
            self._drop(*self._jobs.popleft(), "the storage has not taken it in time")
        if self._working < min(self._workers, len(self._jobs)):
            self._working += 1
            task = asyncio.get_running_loop().create_task(self._work(), name=f"{self._name} of recordings")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def aclose(self, seconds: float) -> None:
        """Until all is done, or the time is over: then what is left is dropped."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._tasks:  # more may come meanwhile
                    await asyncio.wait(self._tasks)
        late = list(self._tasks)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
        while self._jobs:
            self._drop(*self._jobs.popleft(), "the process has ended")

    async def _work(self) -> None:
        try:
            while self._jobs:
                if not self._away:
                    await self._try()
                    continue
                async with self._knocking:
                    if self._away:
                        await asyncio.sleep(RETRY_SECONDS)
                        await self._try()
        finally:
            self._working -= 1

    async def _try(self) -> None:
        """The next job, if another worker has not taken it."""
        if not self._jobs:
            return
        job, whose = self._jobs.popleft()
        with logs.on_behalf(whose):
            await self._do(job, whose)

    async def _do(self, job: Job, whose: logs.About | None) -> None:
        try:
            await job.run()
        except StoreUnavailable:
            self._away = True
            self._jobs.appendleft((job, whose))
        except asyncio.CancelledError:
            self._jobs.appendleft((job, whose))
            raise
        except Exception:  # whatever it is, the other recordings go on
            LOG.exception("a job of the %s failed", self._name)
            self._drop(job, whose, "the log says why")
        else:
            self._away = False
            self.held -= job.size

    def _drop(self, job: Job, whose: logs.About | None, problem: str) -> None:
        self.held -= job.size
        self.dropped += 1
        with logs.on_behalf(whose):
            job.dropped(problem)
