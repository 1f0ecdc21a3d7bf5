"""The interface of object storage, and its implementation in memory.

An object is written completely or not at all, and never appended to. Paths are names separated by slashes. Every method
raises StorageUnavailable if the storage does not respond, or not in time; ObjectNotFound if there is no such object.
"""

from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple, Protocol

from vocelio.gateway.clock import WallClock, wall_clock
from vocelio.gateway.errors import GatewayError


class ObjectNotFound(GatewayError):
    """There is no such object."""


class ObjectInfo(NamedTuple):
    """An object's size in bytes, and when it was modified (whole microseconds UTC)."""

    path: str
    size: int
    modified_at: int


class Storage(Protocol):
    """Object storage."""

    async def put(self, path: str, body: bytes | AsyncIterator[bytes]) -> None:
        """Write an object, replacing an existing one."""

    async def get(self, path: str, start: int, end: int) -> bytes:
        """Return an object's bytes from ``start`` up to, but not including, ``end``."""
        ...

    async def list_objects(self, folder: str) -> list[ObjectInfo]:
        """List the objects in a directory and below, ordered by path."""
        ...

    async def delete(self, paths: Sequence[str]) -> None:
        """Delete objects; missing ones are ignored."""


class MemoryStorage:
    """Storage in memory, for the demo, spoken scenarios and tests; lost when the process exits."""

    def __init__(self, clock: WallClock = wall_clock) -> None:
        self.objects: dict[str, bytes] = {}
        self._modified_at: dict[str, int] = {}
        self._clock = clock

    async def put(self, path: str, body: bytes | AsyncIterator[bytes]) -> None:
        self.objects[path] = body if isinstance(body, bytes) else b"".join([chunk async for chunk in body])
        self._modified_at[path] = self._clock()

    async def get(self, path: str, start: int, end: int) -> bytes:
        if path not in self.objects:
            raise ObjectNotFound(f"there is no object {path}")
        return self.objects[path][start:end]

    async def list_objects(self, folder: str) -> list[ObjectInfo]:
        paths = sorted(path for path in self.objects if path.startswith(f"{folder}/"))
        return [ObjectInfo(path, len(self.objects[path]), self._modified_at[path]) for path in paths]

    async def delete(self, paths: Sequence[str]) -> None:
        for path in paths:
            self.objects.pop(path, None)
            self._modified_at.pop(path, None)
