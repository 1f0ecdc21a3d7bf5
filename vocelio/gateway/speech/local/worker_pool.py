"""The recognition workers of a gateway: as many as are wanted, and the least busy of them for each utterance.

One that dies is replaced at once. Where that cannot be done, or a start failed, whoever begins to listen has the
missing ones started: recognition is never down for longer than what brought it down, and a machine in trouble is left
in peace meanwhile, since nothing is tried without a call and never more than RESTARTS times in RESTARTS_SECONDS.
"""

import asyncio
import logging
from collections import deque
from contextvars import Context

from vocelio.gateway.speech.interfaces import SpeechError, Unsuitable
from vocelio.gateway.speech.local.worker_process import WorkerProcess

MAX_STREAMS = 24
"""Utterances at once in one worker: 3 % of a core each, 5 MB each."""

RESTARTS, RESTARTS_SECONDS = 5, 60.0
"""Workers that may be started anew in a while. Dying faster is a defect that starting more would only hide."""

_log = logging.getLogger(__name__)


class Crew:
    """``wanted`` worker processes."""

    def __init__(self, wanted: int) -> None:
        self._wanted = wanted
        self._workers: list[WorkerProcess] = []
        self._starting = 0
        self._restarts: deque[float] = deque(maxlen=RESTARTS)  # when the last ones were begun
        self._filling: asyncio.Task[None] | None = None
        self._closed = False

    async def start(self) -> None:
        """Start all of them. Raises SpeechError if one does not start; then none is left, until ``fill``."""
        outcomes = await asyncio.gather(*(self._add() for _ in range(self._missing)), return_exceptions=True)
        for outcome in outcomes:
            if outcome is not None:
                await self._end_all()
                raise outcome

    @property
    def pids(self) -> list[int]:
        """The running workers' process ids."""
        return [worker.pid for worker in self._workers if worker.pid is not None]

    def fill(self) -> None:
        """Have the missing workers started, one after the other."""
        if self._missing > 0 and not self._filling and not self._closed and not self._resting:
            loop = asyncio.get_running_loop()  # whoever asked for it: the workers are every call's
            self._filling = loop.create_task(self._fill(), name="recognition workers", context=Context())

    async def settled(self) -> None:
        """Wait until no worker is being started anew."""
        if self._filling:
            await asyncio.wait({self._filling})

    def least_busy(self) -> WorkerProcess:
        """For the next utterance. Raises SpeechError if no worker is there, Unsuitable if they are full."""
        worker = min(self._workers, key=lambda worker: worker.load, default=None)
        if worker is None:
            raise SpeechError("no recognition worker is running")
        if worker.load >= MAX_STREAMS:
            raise Unsuitable(f"local recognition is full: {MAX_STREAMS} utterances in each worker")
        return worker

    async def aclose(self) -> None:
        """End them for good."""
        self._closed = True
        if self._filling:
            self._filling.cancel()
            await asyncio.wait({self._filling})
        await self._end_all()

    @property
    def _missing(self) -> int:
        return self._wanted - len(self._workers) - self._starting

    @property
    def _resting(self) -> bool:
        """Whether too many were started anew of late."""
        now = asyncio.get_running_loop().time()
        return len(self._restarts) == RESTARTS and now - self._restarts[0] < RESTARTS_SECONDS

    async def _fill(self) -> None:
        try:
            while self._missing > 0 and not self._resting:
                self._restarts.append(asyncio.get_running_loop().time())
                await self._add()
        except SpeechError as error:  # the next to ask may have more luck
            _log.error("a recognition worker could not be started: %s", error)
        finally:
            self._filling = None

    async def _add(self) -> None:
        self._starting += 1
        try:
            self._workers.append(await WorkerProcess.spawn(self._lost))
        finally:
            self._starting -= 1

    def _lost(self, worker: WorkerProcess) -> None:
        if worker not in self._workers:
            return  # it never got ready, which ``spawn`` reports, or is ended by us
        self._workers.remove(worker)
        if self._resting:
            _log.error("recognition workers keep dying: one is not replaced for now, %d are left", len(self._workers))
        else:
            _log.warning("recognition worker %s died and is replaced", worker.pid)
        self.fill()

    async def _end_all(self) -> None:
        workers, self._workers = self._workers, []
        await asyncio.gather(*(worker.aclose() for worker in workers))
