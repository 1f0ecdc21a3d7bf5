"""Work on flow documents that may take a second or more: beside the event loop, and only a little of it at once.

What takes so long is as a rule a document that was made to. So whoever checks such documents waits behind the others
who do, and not a call behind them: what calls need has threads of its own.
"""

from asyncio import wrap_future
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Semaphore
from typing import TypeVar

from vocelio.gateway.errors import TooManyRequests

T = TypeVar("T")

MAX_THREADS = 1  # Python runs only one, and more of them would only take the event loop's turns
MAX_PENDING = 20  # those at work included, of half a megabyte each; who comes last waits twenty seconds at worst


class CpuExecutor:
    """Runs functions in a thread; what is given up, too, counts until it has ended."""

    def __init__(self, max_pending: int = MAX_PENDING) -> None:
        self._executor = ThreadPoolExecutor(MAX_THREADS, "flows")
        self._slots = Semaphore(max_pending)

    async def run(self, work: Callable[[], T]) -> T:
        """What ``work`` gives. Raises TooMany when there is too much to do, and what ``work`` raises."""
        if not self._slots.acquire(blocking=False):
            raise TooManyRequests("Too many flows are being checked at present. Try again in a few seconds.", 5.0)
        future = self._executor.submit(work)
        future.add_done_callback(lambda _: self._slots.release())
        return await wrap_future(future)


CPU_EXECUTOR = CpuExecutor()
"""One for the process, as its processor is."""
