"""Objects by their paths: the ``Storage`` port.

An object is written whole or not at all, and never appended to. Paths are names with slashes in between. Every method
raises StorageUnavailable when the storage does not answer, or not in time; Missing when an object is not there.

A storage in memory: for the demo, spoken scenarios and tests. What is kept is gone with the process.
"""

from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple, Protocol

from vocelio.gateway.clock import WallClock, wall_clock
from vocelio.gateway.errors import GatewayError


class ObjectNotFound(GatewayError):
    """There is no such object."""


class ObjectInfo(NamedTuple):
    """An object: its ``size`` in bytes, and when it was ``changed``, whole microseconds UTC."""

    path: str
    size: int
    modified_at: int


class Storage(Protocol):
    """The port."""

    async def put(self, path: str, body: bytes | AsyncIterator[bytes]) -> None:
        """Write an object, in place of what is there."""

    async def get(self, path: str, start: int, end: int) -> bytes:
        """The bytes of an object from ``start`` to before ``end``."""
        ...

    async def list_objects(self, folder: str) -> list[ObjectInfo]:
        """The objects whose paths begin with the folder's and a slash, by path."""
        ...

    async def delete(self, paths: Sequence[str]) -> None:
        """Remove objects; those that are not there are as good as removed."""


class MemoryStorage:
    """The Storage port."""

    def __init__(self, wall: WallClock = wall_clock) -> None:
        self.objects: dict[str, bytes] = {}
        self._modified_at: dict[str, int] = {}
        self._wall = wall

    async def put(self, path: str, body: bytes | AsyncIterator[bytes]) -> None:
        """See Storage."""
        self.objects[path] = body if isinstance(body, bytes) else b"".join([piece async for piece in body])
        self._modified_at[path] = self._wall()

    async def get(self, path: str, start: int, end: int) -> bytes:
        """See Storage."""
        if path not in self.objects:
            raise ObjectNotFound(f"there is no object {path}")
        return self.objects[path][start:end]

    async def list_objects(self, folder: str) -> list[ObjectInfo]:
        """See Storage."""
        paths = sorted(path for path in self.objects if path.startswith(f"{folder}/"))
        return [ObjectInfo(path, len(self.objects[path]), self._modified_at[path]) for path in paths]

    async def delete(self, paths: Sequence[str]) -> None:
        """See Storage."""
        for path in paths:
            self.objects.pop(path, None)
            self._modified_at.pop(path, None)
