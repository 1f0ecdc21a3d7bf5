"""What all monitors of one tenant in this process share: its events, and its calls' pictures.

Events may be lost: with a process that is killed, with Redis, with a watcher that is too slow. So the store is looked
into again and again (see look), and whatever the pictures show differently is set right and told. An event is encoded
once, however many watch.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from contextvars import Context
from typing import Any

import msgspec

from vocelio.gateway.clock import WallClock
from vocelio.gateway.events import Event, EventBus, Watcher
from vocelio.gateway.monitors.call_view import MOVING, Picture, Tracked, change
from vocelio.gateway.monitors.event_filter import Wanted
from vocelio.gateway.monitors.send_queue import Outbox
from vocelio.gateway.store.calls.live import CallKey, KeptCall

LOG = logging.getLogger(__name__)

CHUNK = 100  # calls whose pictures are set right, and told, in one go
MAX_ABSENCES = 60  # looks that do not find a call in the store
ENDED_SECONDS = 60.0  # that calls are shown after their end, some seconds more or less
AT_ONCE = 2_000  # messages put into outboxes, a millisecond's work: then calls have their turn


class Hub:
    """One tenant's, or everybody's. Runs from ``start`` to ``aclose``.

    ``hurry`` asks for a look into the store: at once or soon.
    """

    def __init__(self, tenant: str, bus: EventBus, wall: WallClock, hurry: Callable[[bool], None]) -> None:
        self.tenant = tenant
        self.audience: set[Outbox] = set()
        self.ready = asyncio.Event()  # the store has been read
        self._bus, self._wall, self._ask = bus, wall, hurry
        self.hurried = False  # a look is asked for
        self.gaps = 0  # that monitors have not been told of
        self._calls: dict[CallKey, Tracked] = {}
        self._task: asyncio.Task[None] | None = None
        self._stands = bus.line.alone  # what other processes tell is heard

    def start(self) -> None:
        """Begin."""
        loop = asyncio.get_running_loop()  # what it logs is not about the request of the first monitor
        self._task = loop.create_task(self._follow(), name=f"monitors of {self.tenant}", context=Context())
        self._hurry(at_once=True)

    async def aclose(self) -> None:
        """End at once."""
        if self._task:
            self._task.cancel()
            await asyncio.wait({self._task})

    def pictures(self) -> list[Picture]:
        """Of the calls that go on, and of those that have ended just now."""
        return [tracked.picture for tracked in self._calls.values() if tracked.whole]

    def outbox(self, wanted: Wanted) -> Outbox:
        """For one more monitor, which begins with a snapshot."""
        made = Outbox(wanted, self.pictures, self._wall)
        self.audience.add(made)
        return made

    def _hurry(self, *, at_once: bool = False) -> None:
        self.hurried = True
        self._ask(at_once)

    # Events

    async def _follow(self) -> None:
        async with self._bus.watch(self.tenant) as watcher:
            while True:
                await self._take(watcher)

    async def _take(self, watcher: Watcher) -> None:
        events, lost = await watcher.take()
        done = 0
        for event in events:
            try:
                self._happened(event)
            except Exception:  # a process of another release may tell things differently: the store is the authority
                LOG.exception("an event of the type %s could not be shown", event.type[:40])
                # What has half moved is not known any more: the next look tells all of it.
                self._calls[event.tenant, event.call] = Tracked(event.tenant, event.call)
                self._hurry()
            done += len(self.audience)
            if done > AT_ONCE:
                done = 0
                await asyncio.sleep(0)
        if lost:
            self.gaps += self._stands  # the first is no gap: from here on nothing should be missing
            self._stands = True
            self._hurry()

    def _happened(self, event: Event) -> None:
        picture = None
        if event.call:
            tracked = self._tracked(event.tenant, event.call)
            picture = tracked.picture
            if not tracked.happened(event):
                self._hurry()
        message = f'{{"message":"event",{msgspec.json.encode(event).decode()[1:]}'
        instead = ""
        for outbox in self.audience:
            if outbox.wanted.has_event(event, picture):
                outbox.put(message)
            elif picture and event.type in MOVING and outbox.wanted.has(picture):
                instead = instead or _changes([(picture, picture)])  # the type is not wanted, but the picture moves
                outbox.put(instead)

    def _tracked(self, tenant: str, call: str) -> Tracked:
        tracked = self._calls.get((tenant, call))
        if tracked is None:
            tracked = self._calls[tenant, call] = Tracked(tenant, call)
        return tracked

    # The store

    def missing(self, found: Sequence[KeptCall]) -> list[CallKey]:
        """Calls that go on as far as is known here, and are not among those ``found`` to."""
        there = {row.key for row in found}
        return [key for key, tracked in self._calls.items() if key not in there and not tracked.settled]

    async def looked(self, rows: Sequence[KeptCall], gaps: int) -> None:
        """The store was read: all calls that go on, those that were ``missing``, and maybe some that have ended.

        ``gaps`` is how many there were before that: monitors are told of them now, and see where things are.
        """
        for place in range(0, len(rows), CHUNK):
            self._set_right(rows[place : place + CHUNK])
            await asyncio.sleep(0)
        self._forget({row.key for row in rows})
        if gaps:
            self.gaps -= gaps
            for outbox in self.audience:
                outbox.lose()
        self.ready.set()

    def _set_right(self, rows: Iterable[KeptCall]) -> None:
        now, made = asyncio.get_running_loop().time(), list[tuple[Picture, Any]]()
        for row in rows:
            tracked = self._tracked(row.tenant, row.call)
            is_new = not tracked.whole
            if changed := tracked.kept(row, now):
                picture = tracked.picture
                made.append((picture, picture if is_new else change(picture, changed)))
        if not made:
            return
        everything = _changes(made)
        for outbox in self.audience:
            if outbox.wanted.everything:
                outbox.put(everything)
            elif mine := [one for one in made if outbox.wanted.has(one[0])]:
                outbox.put(_changes(mine))

    def _forget(self, kept: set[CallKey]) -> None:
        """Calls that ended a while ago, and those that there were events of but which the store does not know."""
        before = self._wall() - round(ENDED_SECONDS * 1e6)
        for key, tracked in list(self._calls.items()):
            ended = tracked.picture.ended
            tracked.absences = 0 if key in kept or tracked.settled else tracked.absences + 1
            if tracked.absences > MAX_ABSENCES or (tracked.settled and ended is not None and ended < before):
                del self._calls[key]


def _changes(made: list[tuple[Picture, Any]]) -> str:
    return msgspec.json.encode({"message": "changes", "calls": [what for _, what in made]}).decode()
