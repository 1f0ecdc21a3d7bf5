"""What all monitors of one tenant in this process share: its events, its calls' pictures, and one look into the store.

Events may be lost: with a process that is killed, with Redis, with a watcher that is too slow. So the store is read
again and again, and whatever the pictures show differently is set right and told. An event is encoded once, however
many watch.
"""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

import msgspec

from vocelio.gateway.clock import WallClock
from vocelio.gateway.errors import StoreUnavailable
from vocelio.gateway.events import Event, EventBus, Watcher
from vocelio.gateway.monitors.outbox import Outbox
from vocelio.gateway.monitors.picture import MOVING, Picture, Tracked
from vocelio.gateway.monitors.wanted import Wanted
from vocelio.gateway.store import live
from vocelio.gateway.store.database import Database
from vocelio.gateway.store.live import CallKey, KeptCall

LOG = logging.getLogger(__name__)

LOOK_SECONDS = 1.0  # between two looks into the store
SOON_SECONDS = 0.1  # from a hole in a call's events to the look that mends it: what is on its way has come by then
STORE_SECONDS = 5.0
CHUNK = 100  # calls whose pictures are set right, and told, in one go
MAX_ABSENCES = 60  # looks that do not find a call in the store
ENDED_SECONDS = 60.0  # that calls are shown after their end
AT_ONCE = 2_000  # messages put into outboxes, a millisecond's work: then calls have their turn


class Hub:
    """One tenant's, or everybody's. Runs from ``start`` to ``aclose``; ``look`` is in seconds."""

    def __init__(
        self, tenant: str, bus: EventBus, database: Database, wall: WallClock, look: float = LOOK_SECONDS
    ) -> None:
        self.tenant = tenant
        self.audience: set[Outbox] = set()
        self.ready = asyncio.Event()  # the store has been read
        self._bus, self._database, self._wall, self._look = bus, database, wall, look
        self._calls: dict[CallKey, Tracked] = {}
        self._hurry = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._gaps = 0  # that monitors have not been told of
        self._stands = bus.line.alone  # what other processes tell is heard

    def start(self) -> None:
        """Begin."""
        for work in (self._follow(), self._keep_right()):
            self._tasks.append(asyncio.get_running_loop().create_task(work, name=f"monitors of {self.tenant}"))

    async def aclose(self) -> None:
        """End at once."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def pictures(self) -> list[Picture]:
        """Of the calls that go on, and of those that have ended just now."""
        return [tracked.picture for tracked in self._calls.values() if tracked.whole]

    def outbox(self, wanted: Wanted) -> Outbox:
        """For one more monitor, which begins with a snapshot."""
        made = Outbox(wanted, self.pictures, self._wall)
        self.audience.add(made)
        return made

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
                self._hurry.set()
            done += len(self.audience)
            if done > AT_ONCE:
                done = 0
                await asyncio.sleep(0)
        if lost:
            self._gaps += self._stands  # the first is no gap: from here on nothing should be missing
            self._stands = True
            self._hurry.set()

    def _happened(self, event: Event) -> None:
        picture = None
        if event.call:
            tracked = self._tracked(event.tenant, event.call)
            picture = tracked.picture
            if not tracked.happened(event):
                self._hurry.set()
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

    async def _keep_right(self) -> None:
        while True:
            gaps = self._gaps
            try:
                await self._compare()
            except StoreUnavailable:
                pass  # the pictures are as events have them until it is back
            except Exception:  # our own defect: the next look may do better, and calls do not depend on this
                LOG.exception("the pictures of %s's calls could not be set right", self.tenant or "everybody")
            else:
                if gaps:
                    self._gaps -= gaps
                    self._mend()
                self.ready.set()
            await self._wait()

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(self._look):
                await self._hurry.wait()
                await asyncio.sleep(SOON_SECONDS)
        except TimeoutError:
            pass
        self._hurry.clear()

    def _mend(self) -> None:
        """Events were lost: each monitor is told so, and sees where things are."""
        for outbox in self.audience:
            outbox.lose()

    async def _compare(self) -> None:
        """Raises StoreUnavailable."""
        rows = await self._read(live.live(self._database, self.tenant))
        found = {row.key for row in rows}
        others = [key for key, tracked in self._calls.items() if key not in found and not tracked.settled]
        if others:
            rows += await self._read(live.these(self._database, others))
        for place in range(0, len(rows), CHUNK):
            self._set_right(rows[place : place + CHUNK])
            await asyncio.sleep(0)
        self._forget({row.key for row in rows})

    async def _read(self, question: Coroutine[Any, Any, list[KeptCall]]) -> list[KeptCall]:
        return await self._database.in_time(question, STORE_SECONDS)

    def _set_right(self, rows: list[KeptCall]) -> None:
        now, made = asyncio.get_running_loop().time(), list[tuple[Picture, Any]]()
        for row in rows:
            tracked = self._tracked(row.tenant, row.call)
            is_new = not tracked.whole
            if changed := tracked.kept(row, now):
                what = tracked.picture if is_new else {"tenant": row.tenant, "call": row.call, **changed}
                made.append((tracked.picture, what))
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
