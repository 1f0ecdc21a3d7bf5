"""Run CPU-bound checks of flow documents (up to seconds each) in a thread beside the event loop, with a bounded queue.

A document that takes this long was most likely made to. Such checks must not delay calls, so they have a thread of
their own and wait only for one another.
"""

from asyncio import wrap_future
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Semaphore
from typing import TypeVar

from vocelio.gateway.errors import RateLimited

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
