"""A storage in memory: for the demo, spoken scenarios and tests. What is kept is gone with the process."""

from collections.abc import AsyncIterator, Sequence

from vocelio.gateway.clock import WallClock, wall_clock
from vocelio.gateway.storage.interfaces import ObjectInfo, ObjectNotFound


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
