"""Work that is done again and again beside the calls."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextvars import Context

from vocelio.gateway.errors import DatabaseUnavailable

LOG = logging.getLogger(__name__)


class PeriodicTask:
    """Runs from ``start`` to ``aclose``: ``work`` at once, and then so many ``seconds`` after it was done.

    What fails is tried again at its next turn: without the store, of which the database has told, and also when the
    defect is our own.
    """

    def __init__(self, name: str, interval_seconds: float, work: Callable[[], Awaitable[None]]) -> None:
        self._name, self._interval_seconds, self._work = name, interval_seconds, work
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin."""
        loop = asyncio.get_running_loop()  # it works for everybody: what it logs is not about whoever began it
        self._task = loop.create_task(self._run(), name=self._name, context=Context())

    async def aclose(self) -> None:
        """End at once."""
        if self._task:
            self._task.cancel()
            await asyncio.wait({self._task})

    async def _run(self) -> None:
        while True:
            try:
                await self._work()
            except DatabaseUnavailable:
                LOG.info("the %s waits for the store", self._name)
            except Exception:
                LOG.exception("the %s failed", self._name)
            await asyncio.sleep(self._interval_seconds)
