"""Daemon thread pool for calls that may block forever: bounded, and abandoned if they do not return.

A ``ThreadPoolExecutor`` joins its threads when the interpreter exits, so that one hanging call would keep the process
alive.
"""

import asyncio
import logging
import queue
import threading
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

LOG = logging.getLogger(__name__)


class DaemonThreadPool:
    """At most ``max_threads`` threads, started on demand and kept until ``aclose``. Used on one event loop.

    Further jobs are queued; the users of the pool bound the queue.
    """

    def __init__(self, name: str, max_threads: int) -> None:
        self._name, self._max_threads = name, max_threads
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._threads: dict[
            asyncio.Future[None], threading.Thread
        ] = {}  # by a future that is done when the thread has ended
        self._submitted_at: dict[int, float] = {}  # monotonic time, by the id of the job's future
        self._closed = False

    def run(self, job: Callable[[], T]) -> "asyncio.Future[T]":
        """Run a job on a thread. Shield the future from cancellation, since the job cannot be canceled."""
        if self._closed:
            raise RuntimeError(f"the thread pool {self._name} is closed")
        loop = asyncio.get_running_loop()
        if len(self._submitted_at) >= len(self._threads) < self._max_threads:
            self._start_thread(loop)
        outcome: asyncio.Future[T] = loop.create_future()
        self._submitted_at[id(outcome)] = time.monotonic()
        outcome.add_done_callback(lambda _: self._submitted_at.pop(id(outcome)))
        self._jobs.put(lambda: _run_job(job, outcome, loop))
        return outcome

    @property
    def pending(self) -> int:
        """Number of queued and running jobs."""
        return len(self._submitted_at)

    def pending_longer_than(self, seconds: float) -> int:
        """Return how many pending jobs were submitted longer ago than that."""
        latest = time.monotonic() - seconds
        return sum(submitted_at < latest for submitted_at in self._submitted_at.values())

    async def aclose(self, timeout_seconds: float) -> int:
        """Wait for the pending jobs. Returns how many threads were abandoned because their call did not return."""
        self._closed = True
        for _ in self._threads:
            self._jobs.put(None)  # after every job
        if self._threads:
            await asyncio.wait(self._threads, timeout=timeout_seconds)
        abandoned = [ended for ended in self._threads if not ended.done()]
        for ended, thread in self._threads.items():
            if ended.done():
                thread.join()  # returns at once
        if abandoned:
            LOG.error(
                "thread pool %s: %d calls did not return in %g s; their threads are abandoned",
                self._name,
                len(abandoned),
                timeout_seconds,
            )
        return len(abandoned)

    def _start_thread(self, loop: asyncio.AbstractEventLoop) -> None:
        ended: asyncio.Future[None] = loop.create_future()
        thread = threading.Thread(target=self._run_jobs, args=(ended, loop), name=self._name, daemon=True)
        self._threads[ended] = thread
        thread.start()

    def _run_jobs(self, ended: "asyncio.Future[None]", loop: asyncio.AbstractEventLoop) -> None:
        while job := self._jobs.get():
            job()
            del job  # the objects it holds must be freed on this thread
        call_soon_safe(loop, ended.set_result, None)


def call_soon_safe(loop: asyncio.AbstractEventLoop, callback: Callable[..., object], *args: object) -> None:
    """Call ``loop.call_soon_threadsafe``; do nothing if the loop is closed."""
    try:
        loop.call_soon_threadsafe(callback, *args)
    except RuntimeError:
        LOG.debug("the event loop is closed: %s is not called", callback)


def _run_job(job: Callable[[], T], outcome: "asyncio.Future[T]", loop: asyncio.AbstractEventLoop) -> None:
    try:
        result = job()
    except Exception as error:  # noqa: BLE001  any error belongs to the job's caller
        call_soon_safe(loop, outcome.set_exception, error.with_traceback(None))  # its frames hold the job's objects
    else:
        call_soon_safe(loop, outcome.set_result, result)
