"""Who may ask the database at a time: however slow the API's questions are, calls must get their connections.

A request has a place while it asks the database, and only then: one that waits for another process, say, leaves its
place to others meanwhile. Who gets none within some seconds is told to come back: a queue that nothing bounds would
answer those who have long gone.
"""

import asyncio
from types import TracebackType

from vocelio.gateway.errors import Busy

AT_ONCE = 8  # of the pool's 20 connections
WAIT_SECONDS = 3.0  # for a place: some hundred questions are answered by then, if the database is well


class Place:
    """One request's: ``async with`` takes it, and has left it at the end."""

    def __init__(self, free: asyncio.Semaphore, seconds: float) -> None:
        self._free, self._seconds = free, seconds
        self._taken = False

    async def take(self) -> None:
        """Wait for it. Raises Busy when that takes too long."""
        if self._taken:
            return
        try:
            async with asyncio.timeout(self._seconds):
                await self._free.acquire()
        except TimeoutError:
            raise Busy from None
        self._taken = True

    def leave(self) -> None:
        """Let another have it. Harmless to whoever has none."""
        if self._taken:
            self._taken = False
            self._free.release()

    async def __aenter__(self) -> None:
        """Take it. Raises Busy."""
        await self.take()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Leave it."""
        self.leave()


class Places:
    """``count`` of them; whoever waits for one does so for as many ``seconds`` at most."""

    def __init__(self, count: int = AT_ONCE, seconds: float = WAIT_SECONDS) -> None:
        self._free, self._seconds = asyncio.Semaphore(count), seconds

    def one(self) -> Place:
        """For one request, to be taken."""
        return Place(self._free, self._seconds)
