"""What the SDK makes for us, from being made to being torn down, without the event loop ever waiting for it.

Making takes milliseconds, whatever the service does: two threads are enough. Tearing down can take the SDK ten
seconds and more, when the service does not answer: each has a thread, so that none delays another, and certainly
not a call that begins. How many there may be of either is bounded; past it, nothing more is made.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from vocelio.gateway.speech.azure.daemon_pool import DaemonThreadPool
from vocelio.gateway.speech.interfaces import RequestNotSupported, SpeechError

CREATOR_THREADS = 2

STUCK_AFTER_SECONDS = 3.0
"""From when a teardown counts as stuck: a service that answers lets go within 0.2 s."""

CLOSE_TIMEOUT_SECONDS = 1.0
"""For what is being torn down when all ends; what takes longer is left behind."""


class SdkResource(Protocol):
    """What the SDK made."""

    def tear_down(self) -> None:
        """Let go of everything. May block for long."""


ResourceT = TypeVar("ResourceT", bound=SdkResource)

LOG = logging.getLogger(__name__)


class SdkResourceManager:
    """``limit`` bounds what there is at a time, and again what is being torn down. ``name`` is of its threads."""

    def __init__(self, name: str, max_resources: int) -> None:
        self._max_resources = max_resources
        self._creators = DaemonThreadPool(f"{name}-make", CREATOR_THREADS)
        self._closers = DaemonThreadPool(f"{name}-close", max_resources)
        self._active = 0
        self._closed = False

    @property
    def active(self) -> int:
        """What has been made, or is being made, and not been let go of."""
        return self._active

    @property
    def stuck(self) -> int:
        """Teardowns that have not come to an end in STUCK_SECONDS."""
        return self._closers.pending_longer_than(STUCK_AFTER_SECONDS)

    def create(self, factory: Callable[[], ResourceT]) -> "ResourceLease[ResourceT]":
        """Have it built on a thread. Raises Unsuitable when there is no room for it, SpeechError if none gets free."""
        if self._closed:
            raise SpeechError("Azure speech has been closed")
        if self._active >= self._max_resources:
            raise RequestNotSupported(f"{self._max_resources} connections to Azure speech are in use")
        if self._closers.pending >= self._max_resources:
            raise SpeechError(f"Azure speech does not let go of {self._closers.pending} connections")
        self._active += 1
        return ResourceLease(self, self._creators.run(factory))

    async def run(self, job: Callable[[], None]) -> None:
        """Run what may block for milliseconds. It runs to its end also when the waiting is cancelled."""
        await asyncio.shield(self._creators.run(job))

    def submit(self, job: Callable[[], None]) -> None:
        """The same, without waiting for it."""
        self._creators.run(job).add_done_callback(_log_failure)

    def release(self, resource: "asyncio.Future[ResourceT]") -> None:
        """For ``Place``: it is free again, and what was in it, or will yet be, is torn down."""
        self._active -= 1
        resource.add_done_callback(self._tear_down)

    def _tear_down(self, resource: "asyncio.Future[ResourceT]") -> None:
        if not resource.exception():
            self._closers.run(resource.result().tear_down).add_done_callback(_log_failure)

    async def aclose(self) -> None:
        """Nothing is made any more. Returns within CLOSE_SECONDS or a little more, and leaves behind what hangs."""
        self._closed = True
        await self._creators.aclose(CLOSE_TIMEOUT_SECONDS / 2)
        await self._closers.aclose(CLOSE_TIMEOUT_SECONDS / 2)


class ResourceLease(Generic[ResourceT]):
    """Room for one thing that the SDK makes. ``made`` holds it, or what went wrong, and must not be cancelled."""

    def __init__(self, manager: SdkResourceManager, resource: "asyncio.Future[ResourceT]") -> None:
        self.resource = resource
        self._manager = manager
        self._released = False

    def release(self) -> None:
        """Have it torn down, now or once it has been made. Calling it twice is harmless."""
        if not self._released:
            self._released = True
            self._manager.release(self.resource)


def _log_failure(job: "asyncio.Future[None]") -> None:
    if error := job.exception():
        LOG.warning("Azure's SDK failed: %s", type(error).__name__)  # its messages may quote the request
