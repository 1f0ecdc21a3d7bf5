"""What happens to calls, told to whoever watches: monitors, the demo's display, later the timeline.

Publishing never waits and never fails: a watcher that does not keep up loses events, which are counted and
shown to it as a gap.
"""

from asyncio import Event as Wakeup
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec

WATCHER_BACKLOG = 1_000  # events: some minutes of a busy tenant; past it the oldest are dropped


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """``seq`` counts within a call and generation; ``at`` is whole microseconds UTC."""

    tenant: str
    call: str
    generation: int
    seq: int
    type: str
    at: int
    data: dict[str, Any] = {}

    @property
    def id(self) -> str:
        """Unique for ever."""
        return f"{self.call}-{self.generation}-{self.seq}"


class Watcher:
    """One watcher's events, oldest first; ``missed`` counts those that it was too slow for."""

    def __init__(self) -> None:
        self.missed = 0
        self._backlog: deque[Event] = deque()
        self._wakeup = Wakeup()

    def put(self, event: Event) -> None:
        """Take an event; past the bound the oldest is dropped."""
        if len(self._backlog) >= WATCHER_BACKLOG:
            self._backlog.popleft()
            self.missed += 1
        self._backlog.append(event)
        self._wakeup.set()

    async def get(self) -> Event:
        """The next event, when there is one."""
        while not self._backlog:
            self._wakeup.clear()
            await self._wakeup.wait()
        return self._backlog.popleft()


class EventBus:
    """Events within one process."""

    def __init__(self) -> None:
        self._watchers: dict[str, set[Watcher]] = {}

    def publish(self, event: Event) -> None:
        """Tell the tenant's watchers."""
        for watcher in self._watchers.get(event.tenant, ()):
            watcher.put(event)

    @asynccontextmanager
    async def watch(self, tenant: str) -> AsyncIterator[Watcher]:
        """A watcher of the tenant's events, from now on."""
        watcher = Watcher()
        watchers = self._watchers.setdefault(tenant, set())
        watchers.add(watcher)
        try:
            yield watcher
        finally:
            watchers.discard(watcher)
            if not watchers:
                self._watchers.pop(tenant, None)
