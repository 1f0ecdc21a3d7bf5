"""Helpers around ``asyncio.Task``: a set of tasks, a periodic task, a race of coroutines, and a bounded CPU thread.

No task started here may outlive its owner: ``TaskSet.close`` and ``PeriodicTask.aclose`` cancel, and
``first_completed`` waits for the tasks it cancels. CPU-bound checks of flow documents (up to seconds each) run in a
thread with a bounded queue, so that they cannot delay calls.
"""

import asyncio
import logging
from asyncio import wrap_future
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextvars import Context
from threading import Semaphore
from typing import Any, TypeVar

from vocelio.gateway.errors import DatabaseUnavailable, RateLimited

LOG = logging.getLogger(__name__)

ResultT = TypeVar("ResultT")


class TaskSet:
    """A few running tasks, each removed when it finishes."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, coroutine: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.get_running_loop().create_task(coroutine, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def close(self) -> None:
        """Cancel all tasks, without waiting for them."""
        for task in self._tasks:
            task.cancel()

    async def wait_closed(self) -> None:
        """Wait until all tasks have finished; their errors are ignored."""
        await asyncio.gather(*self._tasks, return_exceptions=True)


class PeriodicTask:
    """Runs ``work`` from ``start`` to ``aclose``: at once, then again ``interval_seconds`` after each run has finished.

    A failed run is logged and repeated at the next interval, whether the database was unavailable or ``work`` has a
    bug.
    """

    def __init__(self, name: str, interval_seconds: float, work: Callable[[], Awaitable[None]]) -> None:
        self._name, self._interval_seconds, self._work = name, interval_seconds, work
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        loop = asyncio.get_running_loop()  # an empty context: its log lines must not name the request that started it
        self._task = loop.create_task(self._run(), name=self._name, context=Context())

    async def aclose(self) -> None:
        """Cancel the task and wait for it."""
        if self._task:
            self._task.cancel()
            await asyncio.wait({self._task})

    async def _run(self) -> None:
        while True:
            try:
                await self._work()
            except DatabaseUnavailable:
                LOG.info("%s: database unavailable; next attempt in %g s", self._name, self._interval_seconds)
            except Exception:
                LOG.exception("%s failed; next attempt in %g s", self._name, self._interval_seconds)
            await asyncio.sleep(self._interval_seconds)


async def first_completed(*coroutines: Coroutine[Any, Any, ResultT]) -> ResultT:
    """Return the result of the first coroutine to finish, or raise its error; cancel the others and wait for them."""
    tasks = [asyncio.create_task(coroutine) for coroutine in coroutines]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
    for result in results:
        if isinstance(result, Exception):
            raise result
    return next(task for task in tasks if task in done).result()


T = TypeVar("T")

MAX_THREADS = 1  # the GIL runs one at a time: more threads would only take turns from the event loop
MAX_PENDING = 20  # jobs, running ones included, of 0.5 MB each; the last one waits 20 s at worst


class CpuExecutor:
    """Runs functions in a thread. A job whose caller has been cancelled counts as pending until it has finished."""

    def __init__(self, max_pending: int = MAX_PENDING) -> None:
        self._executor = ThreadPoolExecutor(MAX_THREADS, "flows")
        self._slots = Semaphore(max_pending)

    async def run(self, work: Callable[[], T]) -> T:
        """Return the result of ``work``. Raises its errors, and RateLimited when the queue is full."""
        if not self._slots.acquire(blocking=False):
            raise RateLimited("Too many flows are being checked at present. Try again in a few seconds.", 5.0)
        future = self._executor.submit(work)
        future.add_done_callback(lambda _: self._slots.release())
        return await wrap_future(future)


CPU_EXECUTOR = CpuExecutor()
"""One for the whole process, since all of its threads share one processor."""
