"""One watcher's events: a bounded backlog, and the knowledge of what is missing from it."""

from asyncio import Event as Wakeup
from collections import deque

from vocelio.gateway.events.event import Event

MAX_BACKLOG_EVENTS = 1_000  # events: some minutes of a busy tenant; past it the oldest are dropped


class Subscription:
    """Oldest first. ``missed`` counts the events that it was too slow for, ``gaps`` the times that others were lost."""

    def __init__(self) -> None:
        self.dropped = self.gaps = 0
        self._backlog: deque[Event] = deque()
        self._wakeup = Wakeup()
        self._reported = (0, 0)

    def put(self, event: Event) -> None:
        """Take an event; past the bound the oldest is dropped."""
        if len(self._backlog) >= MAX_BACKLOG_EVENTS:
            self._backlog.popleft()
            self.dropped += 1
        self._backlog.append(event)
        self._wakeup.set()

    def mark_gap(self) -> None:
        """Some events did not come, nobody knows how many."""
        self.gaps += 1
        self._wakeup.set()

    async def get(self) -> Event:
        """The next event, when there is one."""
        while not self._backlog:
            self._wakeup.clear()
            await self._wakeup.wait()
        return self._backlog.popleft()

    async def get_batch(self) -> tuple[list[Event], bool]:
        """All events that there are, and whether some were lost since the last time. Waits for either."""
        while not self._backlog and self._reported == (self.dropped, self.gaps):
            self._wakeup.clear()
            await self._wakeup.wait()
        events, lost = list(self._backlog), self._reported != (self.dropped, self.gaps)
        self._backlog.clear()
        self._reported = (self.dropped, self.gaps)
        return events, lost
