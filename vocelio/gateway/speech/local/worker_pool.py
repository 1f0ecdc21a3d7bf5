"""Pool of recognition workers: a fixed number of processes, and the least busy of them for each utterance.

A worker that dies is replaced at once. If that fails, or a start failed, the next recognition has the missing workers
started: so recognition recovers as soon as the cause is gone, and an overloaded machine is spared, since nothing is
tried without a call and never more than MAX_RESTARTS times in RESTART_WINDOW_SECONDS.
"""

import asyncio
import logging
from collections import deque
from contextvars import Context

from vocelio.gateway.speech.interfaces import RequestNotSupported, SpeechError
from vocelio.gateway.speech.local.worker_process import WorkerProcess

MAX_STREAMS_PER_WORKER = 24
"""Concurrent utterances per worker: each takes 3% of a core and 5 MB."""

MAX_RESTARTS, RESTART_WINDOW_SECONDS = 5, 60.0
"""Restarts within the window. Dying faster is a bug that more restarts would only hide."""

LOG = logging.getLogger(__name__)


class WorkerPool:
    """Keeps ``size`` worker processes running."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._workers: list[WorkerProcess] = []
        self._starting_count = 0
        self._restart_times: deque[float] = deque(maxlen=MAX_RESTARTS)  # of the latest ones, loop time
        self._start_task: asyncio.Task[None] | None = None
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
    def pids(self) -> list[int]:
        """The running workers' process ids."""
        return [worker.pid for worker in self._workers if worker.pid is not None]

    def ensure_started(self) -> None:
        """Start the missing workers in the background, one after another."""
        if self._missing_count > 0 and not self._start_task and not self._closed and not self._throttled:
            loop = asyncio.get_running_loop()  # an empty context: the workers serve all calls
            self._start_task = loop.create_task(self._start_missing(), name="recognition workers", context=Context())

    async def wait_started(self) -> None:
        """Wait until no worker is being restarted."""
        if self._start_task:
            await asyncio.wait({self._start_task})

    def least_busy(self) -> WorkerProcess:
        """Return the least busy worker. Raises SpeechError if there is none, RequestNotSupported if all are full."""
        worker = min(self._workers, key=lambda worker: worker.stream_count, default=None)
        if worker is None:
            raise SpeechError("no recognition worker is running")
        if worker.stream_count >= MAX_STREAMS_PER_WORKER:
            raise RequestNotSupported(f"local recognition is full: {MAX_STREAMS_PER_WORKER} utterances per worker")
        return worker

    async def aclose(self) -> None:
        """Stop all workers for good."""
        self._closed = True
        if self._start_task:
            self._start_task.cancel()
            await asyncio.wait({self._start_task})
        await self._close_all()

    @property
    def _missing_count(self) -> int:
        return self._size - len(self._workers) - self._starting_count

    @property
    def _throttled(self) -> bool:
        """Whether there were too many restarts within the window."""
        now = asyncio.get_running_loop().time()
        return len(self._restart_times) == MAX_RESTARTS and now - self._restart_times[0] < RESTART_WINDOW_SECONDS

    async def _start_missing(self) -> None:
        try:
            while self._missing_count > 0 and not self._throttled:
                self._restart_times.append(asyncio.get_running_loop().time())
                await self._start_worker()
        except SpeechError as error:  # the next recognition tries again
            LOG.error("recognition worker could not be started; the next recognition tries again: %s", error)
        finally:
            self._start_task = None

    async def _start_worker(self) -> None:
        self._starting_count += 1
        try:
            self._workers.append(await WorkerProcess.spawn(self._on_worker_exit))
        finally:
            self._starting_count -= 1

    def _on_worker_exit(self, worker: WorkerProcess) -> None:
        if worker not in self._workers:
            return  # it was never ready, which ``spawn`` reports, or was stopped by us
        self._workers.remove(worker)
        if self._throttled:
            LOG.error(
                "recognition worker %s died; too many restarts: it is not replaced for now, %d are left",
                worker.pid,
                len(self._workers),
            )
        else:
            LOG.warning("recognition worker %s died; starting another", worker.pid)
        self.ensure_started()

    async def _close_all(self) -> None:
        workers, self._workers = self._workers, []
        await asyncio.gather(*(worker.aclose() for worker in workers))
