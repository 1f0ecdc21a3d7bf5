"""Threads for calls that block, perhaps for ever: bounded, counted, and left behind when they do not return.

A ``ThreadPoolExecutor`` joins its threads when the interpreter ends, so that one call that hangs would keep the
process alive. These are daemons.
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
    """At most ``limit`` threads, started as they are needed and kept until ``aclose``. Used on one event loop.

    Jobs beyond wait their turn, in a queue that is as long as its users let it become.
    """

    def __init__(self, name: str, max_threads: int) -> None:
        self._name, self._max_threads = name, max_threads
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._threads: dict[asyncio.Future[None], threading.Thread] = {}  # by what tells their end
        self._submitted_at: dict[int, float] = {}  # by its outcome's id
        self._closed = False

    def run(self, job: Callable[[], T]) -> "asyncio.Future[T]":
        """Run it on a thread. The future must not be cancelled, for the job cannot be: shield it."""
        if self._closed:
            raise RuntimeError(f"the {self._name} threads are closed")
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
        """Jobs that wait or run."""
        return len(self._submitted_at)

    def pending_longer_than(self, seconds: float) -> int:
        """How many of them were given to ``run`` longer ago."""
        latest = time.monotonic() - seconds
        return sum(begun < latest for begun in self._submitted_at.values())

    async def aclose(self, timeout_seconds: float) -> int:
        """Let the jobs end, for that long. Returns how many threads had to be left behind in a call that hangs."""
        self._closed = True
        for _ in self._threads:
            self._jobs.put(None)  # behind every job
        if self._threads:
            await asyncio.wait(self._threads, timeout=timeout_seconds)
        left = [ended for ended in self._threads if not ended.done()]
        for ended, thread in self._threads.items():
            if ended.done():
                thread.join()  # it has nothing left to do
        if left:
            LOG.error("%d %s threads hang in a call that does not return: they are left behind", len(left), self._name)
        return len(left)

    def _start_thread(self, loop: asyncio.AbstractEventLoop) -> None:
        ended: asyncio.Future[None] = loop.create_future()
        thread = threading.Thread(target=self._run_jobs, args=(ended, loop), name=self._name, daemon=True)
        self._threads[ended] = thread
        thread.start()

    def _run_jobs(self, ended: "asyncio.Future[None]", loop: asyncio.AbstractEventLoop) -> None:
        while job := self._jobs.get():
            job()
            del job  # nothing that it holds may be let go of on another thread
        call_soon_safe(loop, ended.set_result, None)


def call_soon_safe(loop: asyncio.AbstractEventLoop, callback: Callable[..., object], *args: object) -> None:
    """Have it called on the event loop, from any thread; nobody is told when the loop is closed."""
    try:
        loop.call_soon_threadsafe(callback, *args)
    except RuntimeError:
        LOG.debug("the event loop is closed: %s is not told", callback)


def _run_job(job: Callable[[], T], outcome: "asyncio.Future[T]", loop: asyncio.AbstractEventLoop) -> None:
    try:
        result = job()
    except Exception as error:  # noqa: BLE001  whatever it is, it belongs to whoever asked
        call_soon_safe(loop, outcome.set_exception, error.with_traceback(None))  # its frames hold what the job held
    else:
        call_soon_safe(loop, outcome.set_result, result)
