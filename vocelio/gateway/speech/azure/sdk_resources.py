"""What the SDK makes for us, from being made to being torn down, without the event loop ever waiting for it.

Making takes milliseconds, whatever the service does: two threads are enough. Tearing down can take the SDK ten
seconds and more, when the service does not answer: each has a thread, so that none delays another, and certainly
not a call that begins. How many there may be of either is bounded; past it, nothing more is made.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from vocelio.gateway.speech.azure.daemon_pool import Threads
from vocelio.gateway.speech.interfaces import SpeechError, Unsuitable

MAKERS = 2

STUCK_SECONDS = 3.0
"""From when a teardown counts as stuck: a service that answers lets go within 0.2 s."""

CLOSE_SECONDS = 1.0
"""For what is being torn down when all ends; what takes longer is left behind."""


class TornDown(Protocol):
    """What the SDK made."""

    def tear_down(self) -> None:
        """Let go of everything. May block for long."""


M = TypeVar("M", bound=TornDown)

_log = logging.getLogger(__name__)


class Upkeep:
    """``limit`` bounds what there is at a time, and again what is being torn down. ``name`` is of its threads."""

    def __init__(self, name: str, limit: int) -> None:
        self._limit = limit
        self._makers = Threads(f"{name}-make", MAKERS)
        self._breakers = Threads(f"{name}-close", limit)
        self._present = 0
        self._closed = False

    @property
    def present(self) -> int:
        """What has been made, or is being made, and not been let go of."""
        return self._present

    @property
    def stuck(self) -> int:
        """Teardowns that have not come to an end in STUCK_SECONDS."""
        return self._breakers.older_than(STUCK_SECONDS)

    def make(self, build: Callable[[], M]) -> "Place[M]":
        """Have it built on a thread. Raises Unsuitable when there is no room for it, SpeechError if none gets free."""
        if self._closed:
            raise SpeechError("Azure speech has been closed")
        if self._present >= self._limit:
            raise Unsuitable(f"{self._limit} connections to Azure speech are in use")
        if self._breakers.unfinished >= self._limit:
            raise SpeechError(f"Azure speech does not let go of {self._breakers.unfinished} connections")
        self._present += 1
        return Place(self, self._makers.run(build))

    async def run(self, job: Callable[[], None]) -> None:
        """Run what may block for milliseconds. It runs to its end also when the waiting is cancelled."""
        await asyncio.shield(self._makers.run(job))

    def begin(self, job: Callable[[], None]) -> None:
        """The same, without waiting for it."""
        self._makers.run(job).add_done_callback(_report)

    def leave(self, made: "asyncio.Future[M]") -> None:
        """For ``Place``: it is free again, and what was in it, or will yet be, is torn down."""
        self._present -= 1
        made.add_done_callback(self._tear_down)

    def _tear_down(self, made: "asyncio.Future[M]") -> None:
        if not made.exception():
            self._breakers.run(made.result().tear_down).add_done_callback(_report)

    async def aclose(self) -> None:
        """Nothing is made any more. Returns within CLOSE_SECONDS or a little more, and leaves behind what hangs."""
        self._closed = True
        await self._makers.aclose(CLOSE_SECONDS / 2)
        await self._breakers.aclose(CLOSE_SECONDS / 2)


class Place(Generic[M]):
    """Room for one thing that the SDK makes. ``made`` holds it, or what went wrong, and must not be cancelled."""

    def __init__(self, upkeep: Upkeep, made: "asyncio.Future[M]") -> None:
        self.made = made
        self._upkeep = upkeep
        self._left = False

    def leave(self) -> None:
        """Have it torn down, now or once it has been made. Calling it twice is harmless."""
        if not self._left:
            self._left = True
            self._upkeep.leave(self.made)


def _report(job: "asyncio.Future[None]") -> None:
    if error := job.exception():
        _log.warning("Azure's SDK failed: %s", type(error).__name__)  # its messages may quote the request
