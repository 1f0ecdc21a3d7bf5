"""Creates and tears down SDK objects on threads, so that the event loop never waits for the SDK.

Creating takes milliseconds, whatever the service does: two threads are enough. Tearing down can take ten seconds and
more if the service does not respond: each teardown has a thread of its own, so that none delays another, let alone a
new call. Both are bounded; beyond the limit nothing is created.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from vocelio.gateway.speech.azure.daemon_pool import DaemonThreadPool
from vocelio.gateway.speech.interfaces import RequestNotSupported, SpeechError

CREATOR_THREADS = 2

STUCK_AFTER_SECONDS = 3.0
"""When a teardown counts as stuck; it takes up to 0.2 s if the service responds."""

CLOSE_TIMEOUT_SECONDS = 1.0
"""For pending teardowns on close; the threads of those that take longer are abandoned."""


class SdkResource(Protocol):
    """An object of the SDK."""

    def tear_down(self) -> None:
        """Release everything. May block for many seconds."""


ResourceT = TypeVar("ResourceT", bound=SdkResource)

LOG = logging.getLogger(__name__)


class SdkResourceManager:
    """Allows ``max_resources`` live resources, and as many in teardown. ``name`` is used for its threads."""

    def __init__(self, name: str, max_resources: int) -> None:
        self._max_resources = max_resources
        self._creators = DaemonThreadPool(f"{name}-make", CREATOR_THREADS)
        self._closers = DaemonThreadPool(f"{name}-close", max_resources)
        self._active = 0
        self._closed = False

    @property
    def active(self) -> int:
        """Number of resources created or being created, and not released."""
        return self._active

    @property
    def stuck(self) -> int:
        """Number of teardowns pending for more than STUCK_AFTER_SECONDS."""
        return self._closers.pending_longer_than(STUCK_AFTER_SECONDS)

    def create(self, factory: Callable[[], ResourceT]) -> "ResourceLease[ResourceT]":
        """Create a resource on a thread. Raises RequestNotSupported at the limit, SpeechError if teardowns hang."""
        if self._closed:
            raise SpeechError("Azure speech has been closed")
        if self._active >= self._max_resources:
            raise RequestNotSupported(f"all {self._max_resources} connections to Azure speech are in use")
        if self._closers.pending >= self._max_resources:
            raise SpeechError(f"Azure speech: {self._closers.pending} connections are still being closed")
        self._active += 1
        return ResourceLease(self, self._creators.run(factory))

    async def run(self, job: Callable[[], None]) -> None:
        """Run a job that may block for milliseconds; it runs to its end even if the caller is canceled."""
        await asyncio.shield(self._creators.run(job))

    def submit(self, job: Callable[[], None]) -> None:
        """Run a job without waiting for it."""
        self._creators.run(job).add_done_callback(_log_failure)

    def release(self, resource: "asyncio.Future[ResourceT]") -> None:
        """For ``ResourceLease``: free the place, and tear the resource down, if need be after its creation."""
        self._active -= 1
        resource.add_done_callback(self._tear_down)

    def _tear_down(self, resource: "asyncio.Future[ResourceT]") -> None:
        if not resource.exception():
            self._closers.run(resource.result().tear_down).add_done_callback(_log_failure)

    async def aclose(self) -> None:
        """Stop creating; wait about CLOSE_TIMEOUT_SECONDS for teardowns, and abandon those that hang."""
        self._closed = True
        await self._creators.aclose(CLOSE_TIMEOUT_SECONDS / 2)
        await self._closers.aclose(CLOSE_TIMEOUT_SECONDS / 2)


class ResourceLease(Generic[ResourceT]):
    """Admits one resource. ``resource`` is its future, which holds it or the error; it must not be canceled."""

    def __init__(self, manager: SdkResourceManager, resource: "asyncio.Future[ResourceT]") -> None:
        self.resource = resource
        self._manager = manager
        self._released = False

    def release(self) -> None:
        """Have the resource torn down, now or after its creation. Idempotent."""
        if not self._released:
            self._released = True
            self._manager.release(self.resource)


def _log_failure(job: "asyncio.Future[None]") -> None:
    if error := job.exception():
        LOG.warning("Azure's SDK failed: %s", type(error).__name__)  # its messages may quote the request
