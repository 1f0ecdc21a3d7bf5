"""Crash ledger: which inputs have killed or stopped a worker, and whose they were.

An input on which workers have died twice is refused from then on: once may be bad luck, since memory that one input has
corrupted can kill the worker while it works on the next. A tenant on whose inputs workers keep dying is refused local
speech for a while, so that it cannot take the workers away from others.
"""

import asyncio
from collections import deque
from hashlib import blake2b

from cachetools import LRUCache

from vocelio.gateway.speech.interfaces import RequestNotSupported

MAX_CRASHES_PER_INPUT = 2

MAX_CRASHES_PER_TENANT, CRASH_WINDOW_SECONDS = 4, 60.0
"""Crashes within the window from which a tenant is refused: two texts tried twice. The pool replaces so many workers at
once."""

MAX_REMEMBERED = 10_000
"""Inputs and tenants, of some 200 bytes each; the least recently used are forgotten."""


class CrashLedger:
    """The crashes of one kind of worker. A tenant without a name (a probe, a tool) is never refused."""

    def __init__(self, service: str) -> None:
        self._service = service
        self._inputs: LRUCache[bytes, int] = LRUCache(MAX_REMEMBERED)
        self._tenants: LRUCache[str, deque[float]] = LRUCache(MAX_REMEMBERED)

    def check(self, tenant: str, digest: bytes) -> None:
        """Raise RequestNotSupported for an input or a tenant that is refused."""
        if self.is_refused(digest):
            raise RequestNotSupported(f"local {self._service} has died on this input before")
        if self._recent_crashes(tenant) >= MAX_CRASHES_PER_TENANT:
            raise RequestNotSupported(f"local {self._service} has died on this tenant's inputs too often; paused")

    def is_suspect(self, tenant: str, digest: bytes) -> bool:
        """Whether a worker has died on the input, or on another of the tenant lately."""
        return digest in self._inputs or self._recent_crashes(tenant) > 0

    def is_refused(self, digest: bytes) -> bool:
        """Whether workers have died on the input too often."""
        return self._inputs.get(digest, 0) >= MAX_CRASHES_PER_INPUT

    def record(self, tenant: str, digest: bytes | None) -> None:
        """Record that a worker has died on a tenant's input; None if the input is not worth remembering."""
        if digest is not None:
            self._inputs[digest] = self._inputs.get(digest, 0) + 1
        if tenant:
            times = self._tenants.setdefault(tenant, deque(maxlen=MAX_CRASHES_PER_TENANT))
            times.append(_now())

    def _recent_crashes(self, tenant: str) -> int:
        since = _now() - CRASH_WINDOW_SECONDS
        return sum(time > since for time in self._tenants.get(tenant, ()))


def input_digest(*parts: str) -> bytes:
    """Return a digest of an input's parts."""
    return blake2b("\0".join(parts).encode(errors="replace"), digest_size=16).digest()


def _now() -> float:
    return asyncio.get_running_loop().time()
