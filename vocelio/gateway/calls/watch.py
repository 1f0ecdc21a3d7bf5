"""The heartbeat of this process's streams, and the sweep for calls of which nobody has heard in time.

A process that dies leaves calls behind. Twilio comes back for those that go on; the others are found here, by any
process, and ended with what is known of them. After a time without the store the sweep waits for everybody's next
heartbeat: those that could not be written are no sign of death.
"""

import asyncio
import logging

from vocelio.gateway.calls.registry import LIVE_SECONDS, Calls
from vocelio.gateway.errors import StoreUnavailable

LOG = logging.getLogger(__name__)

HEARTBEAT = 20.0  # seconds
AT_ONCE = 200  # calls that one sweep ends; the next ends more
FORGET_AFTER = 600.0  # seconds after its end: nobody comes back for a call that was lost then
PATIENCE = 2 * HEARTBEAT  # seconds after the store was away


class Watch:
    """Runs from ``start`` to ``aclose``."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._task: asyncio.Task[None] | None = None
        self._not_before = 0.0

    async def start(self) -> None:
        """Begin, with a sweep."""
        self._task = asyncio.create_task(self._run(), name="watch")

    async def aclose(self) -> None:
        """End at once."""
        if self._task:
            self._task.cancel()
            await asyncio.wait({self._task})

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                await self._beat()
                if loop.time() >= self._not_before:
                    await self._sweep()
            except StoreUnavailable:
                self._not_before = loop.time() + PATIENCE
            except Exception:  # our own defect: the next round may do better, and calls do not depend on this one
                LOG.exception("the sweep failed")
            await asyncio.sleep(HEARTBEAT)

    async def _beat(self) -> None:
        await self._calls.tell_news()
        due = self._calls.services.wall() + round(LIVE_SECONDS * 1e6)
        await self._calls.services.journal.stay([live.stream for live in self._calls.live.values()], due)

    async def _sweep(self) -> None:
        now = self._calls.services.wall()
        journal = self._calls.services.journal
        for kept in await journal.overdue(now, AT_ONCE):
            await self._calls.settle(kept)
        await journal.forget(now - round(FORGET_AFTER * 1e6))
