"""Work on flow documents that may take a second or more: beside the event loop, and only a little of it at once.

What takes so long is as a rule a document that was made to. So whoever checks such documents waits behind the others
who do, and not a call behind them: what calls need has threads of its own.
"""

from asyncio import wrap_future
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Semaphore
from typing import TypeVar

from vocelio.gateway.errors import TooMany

T = TypeVar("T")

AT_ONCE = 1  # Python runs only one, and more of them would only take the event loop's turns
MAX_WAITING = 20  # those at work included, of half a megabyte each; who comes last waits twenty seconds at worst


class Aside:
    """Runs functions in a thread; what is given up, too, counts until it has ended."""

    def __init__(self, waiting: int = MAX_WAITING) -> None:
        self._threads = ThreadPoolExecutor(AT_ONCE, "flows")
        self._places = Semaphore(waiting)

    async def run(self, work: Callable[[], T]) -> T:
        """What ``work`` gives. Raises TooMany when there is too much to do, and what ``work`` raises."""
        if not self._places.acquire(blocking=False):
            raise TooMany("Too many flows are being checked at present. Try again in a few seconds.", 5.0)
        future = self._threads.submit(work)
        future.add_done_callback(lambda _: self._places.release())
        return await wrap_future(future)


ASIDE = Aside()
"""One for the process, as its processor is."""
