"""A storage in memory: for the demo, spoken scenarios and tests. What is kept is gone with the process."""

from collections.abc import AsyncIterator, Sequence

from vocelio.gateway.clock import WallClock, wall_clock
from vocelio.gateway.storage.interfaces import Missing, Stored


class MemoryStorage:
    """The Storage port."""

    def __init__(self, wall: WallClock = wall_clock) -> None:
        self.objects: dict[str, bytes] = {}
        self._changed: dict[str, int] = {}
        self._wall = wall

    async def put(self, path: str, body: bytes | AsyncIterator[bytes]) -> None:
        """See Storage."""
        self.objects[path] = body if isinstance(body, bytes) else b"".join([piece async for piece in body])
        self._changed[path] = self._wall()

    async def get(self, path: str, start: int, end: int) -> bytes:
        """See Storage."""
        if path not in self.objects:
            raise Missing(f"there is no object {path}")
        return self.objects[path][start:end]

    async def within(self, folder: str) -> list[Stored]:
        """See Storage."""
        paths = sorted(path for path in self.objects if path.startswith(f"{folder}/"))
        return [Stored(path, len(self.objects[path]), self._changed[path]) for path in paths]

    async def delete(self, paths: Sequence[str]) -> None:
        """See Storage."""
        for path in paths:
            self.objects.pop(path, None)
            self._changed.pop(path, None)
