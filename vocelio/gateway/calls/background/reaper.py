"""The heartbeat of this process's streams, and the sweep for calls of which nobody has heard in time.

A process that dies leaves calls behind. Twilio comes back for those that go on; the others are found here, by any
process, and ended with what is known of them. After a time without the store the sweep waits for everybody's next
heartbeat: those that could not be written are no sign of death.
"""

import asyncio
from collections.abc import Sequence

from vocelio.gateway.aio.periodic import Periodic
from vocelio.gateway.calls.registry import Calls
from vocelio.gateway.errors import StoreUnavailable
from vocelio.gateway.store.calls.interface import SavedCall

HEARTBEAT = 20.0  # seconds
AT_ONCE = 200  # calls that one sweep ends; the next ends more
FORGET_AFTER = 600.0  # seconds after its end: nobody comes back for a call that was lost then
PATIENCE = 2 * HEARTBEAT  # seconds since the store answers


class Watch:
    """Runs from ``start`` to ``aclose``."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._beating = Periodic("sweep of calls", HEARTBEAT, self._beat)
        self._since: float | None = None  # since when the store answers, by the loop's clock

    async def start(self) -> None:
        """Begin."""
        await self._beating.start()

    async def aclose(self) -> None:
        """End at once."""
        await self._beating.aclose()

    async def _beat(self) -> None:
        loop = asyncio.get_running_loop()
        for live in list(self._calls.live.values()):
            live.beat()
        try:
            overdue = await self._calls.services.journal.overdue(self._calls.services.wall(), AT_ONCE)
            self._since = loop.time() if self._since is None else self._since
            await self._calls.tell_news()
            if loop.time() >= self._since + PATIENCE:
                await self._sweep(overdue)
        except StoreUnavailable:
            self._since = None
            raise

    async def _sweep(self, overdue: Sequence[SavedCall]) -> None:
        for kept in overdue:
            await self._calls.settle(kept)
        await self._calls.services.journal.forget(self._calls.services.wall() - round(FORGET_AFTER * 1e6))
