"""Who may ask the database at a time: however slow the API's questions are, calls must get their connections.

A request has a place while it asks the database, and only then: one that waits for another process, say, leaves its
place to others meanwhile. Who gets none within some seconds is told to come back: a queue that nothing bounds would
answer those who have long gone.
"""

import asyncio
from types import TracebackType

from vocelio.gateway.errors import Overloaded

MAX_CONCURRENT_REQUESTS = 8  # of the pool's 20 connections
ACQUIRE_TIMEOUT_SECONDS = 3.0  # for a place: some hundred questions are answered by then, if the database is well


class Slot:
    """One request's: ``async with`` takes it, and has left it at the end."""

    def __init__(self, semaphore: asyncio.Semaphore, timeout_seconds: float) -> None:
        self._semaphore, self._timeout_seconds = semaphore, timeout_seconds
        self._acquired = False

    async def acquire(self) -> None:
        """Wait for it. Raises Busy when that takes too long."""
        if self._acquired:
            return
        try:
            async with asyncio.timeout(self._timeout_seconds):
                await self._semaphore.acquire()
        except TimeoutError:
            raise Overloaded from None
        self._acquired = True

    def release(self) -> None:
        """Let another have it. Harmless to whoever has none."""
        if self._acquired:
            self._acquired = False
            self._semaphore.release()

    async def __aenter__(self) -> None:
        """Take it. Raises Busy."""
        await self.acquire()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Leave it."""
        self.release()


class ConcurrencyLimiter:
    """``count`` of them; whoever waits for one does so for as many ``seconds`` at most."""

    def __init__(
        self, max_concurrent: int = MAX_CONCURRENT_REQUESTS, timeout_seconds: float = ACQUIRE_TIMEOUT_SECONDS
    ) -> None:
        self._semaphore, self._timeout_seconds = asyncio.Semaphore(max_concurrent), timeout_seconds

    def slot(self) -> Slot:
        """For one request, to be taken."""
        return Slot(self._semaphore, self._timeout_seconds)
