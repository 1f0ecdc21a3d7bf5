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

_log = logging.getLogger(__name__)


class Threads:
    """At most ``limit`` threads, started as they are needed and kept until ``aclose``. Used on one event loop.

    Jobs beyond wait their turn, in a queue that is as long as its users let it become.
    """

    def __init__(self, name: str, limit: int) -> None:
        self._name, self._limit = name, limit
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._threads: dict[asyncio.Future[None], threading.Thread] = {}  # by what tells their end
        self._begun: dict[int, float] = {}  # by its outcome's id
        self._closed = False

    def run(self, job: Callable[[], T]) -> "asyncio.Future[T]":
        """Run it on a thread. The future must not be cancelled, for the job cannot be: shield it."""
        if self._closed:
            raise RuntimeError(f"the {self._name} threads are closed")
        loop = asyncio.get_running_loop()
        if len(self._begun) >= len(self._threads) < self._limit:
            self._start_one(loop)
        outcome: asyncio.Future[T] = loop.create_future()
        self._begun[id(outcome)] = time.monotonic()
        outcome.add_done_callback(lambda _: self._begun.pop(id(outcome)))
        self._jobs.put(lambda: _carry_out(job, outcome, loop))
        return outcome

    @property
    def unfinished(self) -> int:
        """Jobs that wait or run."""
        return len(self._begun)

    def older_than(self, seconds: float) -> int:
        """How many of them were given to ``run`` longer ago."""
        latest = time.monotonic() - seconds
        return sum(begun < latest for begun in self._begun.values())

    async def aclose(self, seconds: float) -> int:
        """Let the jobs end, for that long. Returns how many threads had to be left behind in a call that hangs."""
        self._closed = True
        for _ in self._threads:
            self._jobs.put(None)  # behind every job
        if self._threads:
            await asyncio.wait(self._threads, timeout=seconds)
        left = [ended for ended in self._threads if not ended.done()]
        for ended, thread in self._threads.items():
            if ended.done():
                thread.join()  # it has nothing left to do
        if left:
            _log.error("%d %s threads hang in a call that does not return: they are left behind", len(left), self._name)
        return len(left)

    def _start_one(self, loop: asyncio.AbstractEventLoop) -> None:
        ended: asyncio.Future[None] = loop.create_future()
        thread = threading.Thread(target=self._work, args=(ended, loop), name=self._name, daemon=True)
        self._threads[ended] = thread
        thread.start()

    def _work(self, ended: "asyncio.Future[None]", loop: asyncio.AbstractEventLoop) -> None:
        while job := self._jobs.get():
            job()
            del job  # nothing that it holds may be let go of on another thread
        post(loop, ended.set_result, None)


def post(loop: asyncio.AbstractEventLoop, call: Callable[..., object], *args: object) -> None:
    """Have it called on the event loop, from any thread; nobody is told when the loop is closed."""
    try:
        loop.call_soon_threadsafe(call, *args)
    except RuntimeError:
        _log.debug("the event loop is closed: %s is not told", call)


def _carry_out(job: Callable[[], T], outcome: "asyncio.Future[T]", loop: asyncio.AbstractEventLoop) -> None:
    try:
        result = job()
    except Exception as error:  # noqa: BLE001  whatever it is, it belongs to whoever asked
        post(loop, outcome.set_exception, error.with_traceback(None))  # its frames hold what the job held
    else:
        post(loop, outcome.set_result, result)
