"""A queue of bounded total size between code that must never wait and one consumer task.

The policy of a full queue is the caller's: ``put`` drops the oldest items and returns them, ``try_put`` refuses the new
one. Nothing here is thread-safe.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")


def _one(_: object) -> int:
    return 1


class BoundedQueue(Generic[T]):
    """First in, first out. ``size_of`` measures an item in the unit of ``max_size``; by default items are counted."""

    def __init__(self, max_size: int, size_of: Callable[[T], int] = _one) -> None:
        self.size = 0
        self._max_size, self._size_of = max_size, size_of
        self._items: deque[T] = deque()
        self._wakeup = asyncio.Event()

    def __len__(self) -> int:
        return len(self._items)

    def put(self, item: T) -> Sequence[T]:
        """Append an item; return the oldest ones, which are dropped until the rest fits."""
        self._items.append(item)
        self.size += self._size_of(item)
        self._wakeup.set()
        if self.size <= self._max_size:
            return ()
        dropped: list[T] = []
        while self.size > self._max_size:
            dropped.append(self.popleft())
        return dropped

    def try_put(self, item: T) -> bool:
        """Append an item if it fits."""
        if not self.fits(item):
            return False
        self.put(item)
        return True

    def fits(self, item: T) -> bool:
        """Return whether the queue has room for the item."""
        return self.size + self._size_of(item) <= self._max_size

    def popleft(self) -> T:
        """Remove and return the oldest item. Raises IndexError."""
        item = self._items.popleft()
        self.size -= self._size_of(item)
        return item

    def take(self, count: int | None = None) -> list[T]:
        """Remove and return the oldest items: all, or ``count`` at most."""
        return [self.popleft() for _ in range(len(self) if count is None else min(count, len(self)))]

    def clear(self) -> None:
        """Drop all items."""
        self._items.clear()
        self.size = 0

    def notify(self) -> None:
        """Wake the consumer for another reason than an item."""
        self._wakeup.set()

    async def wait(self) -> None:
        """Wait for the next ``put`` or ``notify``. The consumer checks its state first, without an await in between."""
        self._wakeup.clear()
        await self._wakeup.wait()

    async def get(self) -> T:
        """Wait for an item; remove and return the oldest."""
        while not self._items:
            await self.wait()
        return self.popleft()
