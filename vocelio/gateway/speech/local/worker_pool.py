"""Pool of speech workers of one kind: a fixed number of processes, each replaced as soon as it dies.

Replacing is never given up, but beyond MAX_RESTARTS within RESTART_WINDOW_SECONDS it is slowed down, so that dying
workers do not take the machine. If a start fails, the next request tries again: so speech recovers as soon as the cause
is gone, and an overloaded machine is spared, since nothing is tried without a request.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from contextvars import Context
from typing import Generic, TypeVar

from vocelio.gateway.speech.interfaces import SpeechError
from vocelio.gateway.speech.local.worker_process import WorkerProcess

MAX_RESTARTS, RESTART_WINDOW_SECONDS = 5, 60.0
"""Restarts within the window that are made at once."""

RESTART_INTERVAL_SECONDS = 5.0
"""Between further ones: starting a worker takes 0.4 s of a processor."""

LOG = logging.getLogger(__name__)

WorkerT = TypeVar("WorkerT", bound=WorkerProcess)


def _ignore(_error: SpeechError | None) -> None:
    return


class WorkerPool(Generic[WorkerT]):
    """Keeps ``size`` worker processes running.

    ``on_change`` is called when a worker has been started in the background (with None) or could not be (why).
    """

    def __init__(
        self,
        service: str,
        size: int,
        create_worker: Callable[[], WorkerT],
        on_change: Callable[[SpeechError | None], None] = _ignore,
    ) -> None:
        self._service, self._size = service, size
        self._create_worker, self._on_change = create_worker, on_change
        self._workers: list[WorkerT] = []
        self._starting_count = 0
        self._restart_times: deque[float] = deque(maxlen=MAX_RESTARTS)  # of the latest ones, loop time
        self._start_task: asyncio.Task[None] | None = None
        self._restart_timer: asyncio.TimerHandle | None = None
        self._closed = False

    async def start(self) -> None:
        """Start all workers. Raises SpeechError if one does not start; then none runs until ``ensure_started``."""
        outcomes = await asyncio.gather(
            *(self._start_worker() for _ in range(self._missing_count)), return_exceptions=True
        )
        for outcome in outcomes:
            if outcome is not None:
                await self._close_all()
                raise outcome

    @property
    def workers(self) -> list[WorkerT]:
        """The running workers."""
        return [worker for worker in self._workers if worker.is_running]

    @property
    def size(self) -> int:
        """Number of workers when all are running."""
        return self._size

    @property
    def pids(self) -> list[int]:
        """The running workers' process ids."""
        return [worker.pid for worker in self._workers if worker.pid is not None]

    def ensure_started(self) -> None:
        """Start the missing workers in the background, one after another; later, if there were too many restarts."""
        if self._missing_count <= 0 or self._start_task or self._closed:
            return
        loop = asyncio.get_running_loop()
        if not (delay_seconds := self._restart_delay()):  # an empty context: the workers serve all calls
            name = f"{self._service} workers"
            self._start_task = loop.create_task(self._start_missing(), name=name, context=Context())
        elif not self._restart_timer:
            self._restart_timer = loop.call_later(delay_seconds, self._on_restart_timer, context=Context())

    async def wait_started(self) -> None:
        """Wait until no worker is being restarted."""
        if self._start_task:
            await asyncio.wait({self._start_task})

    async def aclose(self) -> None:
        """Stop all workers for good."""
        self._closed = True
        if self._restart_timer:
            self._restart_timer.cancel()
        if self._start_task:
            self._start_task.cancel()
            await asyncio.wait({self._start_task})
        await self._close_all()

    @property
    def _missing_count(self) -> int:
        return self._size - len(self._workers) - self._starting_count

    def _restart_delay(self) -> float:
        """Return the seconds until the next restart may be made."""
        now, times = asyncio.get_running_loop().time(), self._restart_times
        if len(times) < MAX_RESTARTS or now - times[0] >= RESTART_WINDOW_SECONDS:
            return 0.0
        return max(0.0, times[-1] + RESTART_INTERVAL_SECONDS - now)

    def _on_restart_timer(self) -> None:
        self._restart_timer = None
        self.ensure_started()

    async def _start_missing(self) -> None:
        failure = None
        try:
            while self._missing_count > 0 and not self._restart_delay():
                self._restart_times.append(asyncio.get_running_loop().time())
                await self._start_worker()
                self._on_change(None)
        except SpeechError as error:
            failure = error
            LOG.error("%s worker could not be started; the next request tries again: %s", self._service, error)
        finally:
            self._start_task = None
        if failure:
            self._on_change(failure)
        else:
            self.ensure_started()

    async def _start_worker(self) -> None:
        self._starting_count += 1
        try:
            worker = self._create_worker()
            await worker.start()
            self._workers.append(worker)
            worker.exited.add_done_callback(lambda _: self._on_worker_exit(worker), context=Context())
        finally:
            self._starting_count -= 1

    def _on_worker_exit(self, worker: WorkerT) -> None:
        if worker not in self._workers:
            return  # it was stopped by us
        self._workers.remove(worker)
        if delay_seconds := self._restart_delay():
            LOG.error(
                "%s worker %s died; too many restarts: it is replaced in %.1f s, %d are left",
                self._service,
                worker.pid,
                delay_seconds,
                len(self._workers),
            )
        else:
            LOG.warning("%s worker %s died; starting another", self._service, worker.pid)
        self.ensure_started()

    async def _close_all(self) -> None:
        workers, self._workers = self._workers, []
        await asyncio.gather(*(worker.aclose() for worker in workers))
