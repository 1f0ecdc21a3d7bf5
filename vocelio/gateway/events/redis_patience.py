"""What a loop of the line does when something has failed: tell of it, wait a little longer each time, and try again.

A loop that ended would leave its process deaf or mute until somebody starts it anew. So what is our own defect, or a
library's, is survived like a server that is away.
"""

import asyncio
import logging
from types import TracebackType

from vocelio.gateway.events.redis_server import TROUBLE

LOG = logging.getLogger(__name__)

RETRY_SECONDS = (0.05, 0.2, 0.5, 1.0)


class Patience:
    """One loop's: within it a try may fail. ``failures`` are those in a row; the first of each sort is told."""

    def __init__(self, what: str) -> None:
        self.failures = 0
        self._what = what
        self._told: set[bool] = set()

    async def __aenter__(self) -> None:
        """Begin a try."""

    async def __aexit__(self, kind: object, error: BaseException | None, trace: TracebackType | None) -> bool:
        """End it, and if it has failed wait for the next."""
        if not isinstance(error, Exception):
            return False
        defect = not isinstance(error, TROUBLE)
        if defect not in self._told:
            self._told.add(defect)
            LOG.warning("%s: %s", self._what, type(error).__name__, exc_info=defect)
        await asyncio.sleep(RETRY_SECONDS[min(self.failures, len(RETRY_SECONDS) - 1)])
        self.failures += 1
        return True

    def rewarded(self) -> None:
        """All is well again."""
        self.failures = 0
        self._told.clear()
