"""The recognition workers of a gateway: as many as are wanted, and the least busy of them for each utterance.

One that dies is replaced at once. Where that cannot be done, or a start failed, whoever begins to listen has the
missing ones started: recognition is never down for longer than what brought it down, and a machine in trouble is left
in peace meanwhile, since nothing is tried without a call and never more than RESTARTS times in RESTARTS_SECONDS.
"""

import asyncio
import logging
from collections import deque
from contextvars import Context

from vocelio.gateway.speech.interfaces import RequestNotSupported, SpeechError
from vocelio.gateway.speech.local.worker_process import WorkerProcess

MAX_STREAMS_PER_WORKER = 24
"""Utterances at once in one worker: 3 % of a core each, 5 MB each."""

MAX_RESTARTS, RESTART_WINDOW_SECONDS = 5, 60.0
"""Workers that may be started anew in a while. Dying faster is a defect that starting more would only hide."""

LOG = logging.getLogger(__name__)


class WorkerPool:
    """``wanted`` worker processes."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._workers: list[WorkerProcess] = []
        self._starting_count = 0
        self._restart_times: deque[float] = deque(maxlen=MAX_RESTARTS)  # when the last ones were begun
        self._start_task: asyncio.Task[None] | None = None
        self._closed = False

    async def start(self) -> None:
        """Start all of them. Raises SpeechError if one does not start; then none is left, until ``fill``."""
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
        """Have the missing workers started, one after the other."""
        if self._missing_count > 0 and not self._start_task and not self._closed and not self._throttled:
            loop = asyncio.get_running_loop()  # whoever asked for it: the workers are every call's
            self._start_task = loop.create_task(self._start_missing(), name="recognition workers", context=Context())

    async def wait_started(self) -> None:
        """Wait until no worker is being started anew."""
        if self._start_task:
            await asyncio.wait({self._start_task})

    def least_busy(self) -> WorkerProcess:
        """For the next utterance. Raises SpeechError if no worker is there, Unsuitable if they are full."""
        worker = min(self._workers, key=lambda worker: worker.stream_count, default=None)
        if worker is None:
            raise SpeechError("no recognition worker is running")
        if worker.stream_count >= MAX_STREAMS_PER_WORKER:
            raise RequestNotSupported(f"local recognition is full: {MAX_STREAMS_PER_WORKER} utterances in each worker")
        return worker

    async def aclose(self) -> None:
        """End them for good."""
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
        """Whether too many were started anew of late."""
        now = asyncio.get_running_loop().time()
        return len(self._restart_times) == MAX_RESTARTS and now - self._restart_times[0] < RESTART_WINDOW_SECONDS

    async def _start_missing(self) -> None:
        try:
            while self._missing_count > 0 and not self._throttled:
                self._restart_times.append(asyncio.get_running_loop().time())
                await self._start_worker()
        except SpeechError as error:  # the next to ask may have more luck
            LOG.error("a recognition worker could not be started: %s", error)
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
            return  # it never got ready, which ``spawn`` reports, or is ended by us
        self._workers.remove(worker)
        if self._throttled:
            LOG.error("recognition workers keep dying: one is not replaced for now, %d are left", len(self._workers))
        else:
            LOG.warning("recognition worker %s died and is replaced", worker.pid)
        self.ensure_started()

    async def _close_all(self) -> None:
        workers, self._workers = self._workers, []
        await asyncio.gather(*(worker.aclose() for worker in workers))
