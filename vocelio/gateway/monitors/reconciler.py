"""One look into the store for all hubs of a process, every second: a query for each would cost more than the calls do.

A hub that knows that it misses something is looked after sooner, together with whichever others do. Which calls have
ended of late is asked for a hub that has just begun or lost events, and now and then for all: a process that was killed
may have told nobody of a short one.

A look at thousands of calls takes the time of those that live in the same process. So the pause after it grows with
their number: pictures that nothing mends meanwhile are wrong for longer, and no caller hears anything of it.
"""

import asyncio
import logging
import math
from collections import defaultdict
from collections.abc import Collection, Coroutine, Sequence
from typing import Any

from vocelio.gateway.clock import WallClock
from vocelio.gateway.errors import StoreUnavailable
from vocelio.gateway.events.bus import EVERYBODY
from vocelio.gateway.monitors.tenant_feed import Hub
from vocelio.gateway.store.calls import live
from vocelio.gateway.store.calls.live import KeptCall
from vocelio.gateway.store.db.database import Database

LOG = logging.getLogger(__name__)

LOOK_SECONDS = 1.0  # between two looks
SOON_SECONDS = 0.1  # from a hole in a call's events to the look that mends it: what is on its way has come by then
REST_SECONDS = 0.5  # between two looks at least, however many holes there are
CALL_SECONDS = 0.0005  # of pause after a look, for each call that it found: ten times the CPU that it takes
LONGEST_SECONDS = 15.0  # of such a pause
ALL_SECONDS = 10.0  # between two looks at calls that have ended
RECENT_SECONDS = 50.0  # since they have: of those that are shown, but for the ones that are forgotten soon
STORE_SECONDS = 5.0
TENANTS = 100  # of one query


class Look:
    """Looks for those in ``hubs``, by tenant, from ``start`` to ``aclose``. ``seconds`` lie between two looks."""

    def __init__(
        self, hubs: dict[str, Hub], database: Database, wall: WallClock, seconds: float = LOOK_SECONDS
    ) -> None:
        self._seconds = seconds
        self._hubs, self._database, self._wall = hubs, database, wall
        self._wakeup = asyncio.Event()  # the next look is due sooner
        self._due = self._rested = 0.0  # by the loop's clock: the next look, and the first one to which holes may lead
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin."""
        self._task = asyncio.create_task(self._run(), name="look of monitors")

    async def aclose(self) -> None:
        """End at once."""
        if self._task:
            self._task.cancel()
            await asyncio.wait({self._task})

    def soon(self, at_once: bool) -> None:
        """A hub is hurried: it has just begun, or misses what may be on its way."""
        now = asyncio.get_running_loop().time()
        due = now if at_once else max(now + SOON_SECONDS, self._rested)
        if due < self._due:
            self._due = due
            self._wakeup.set()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        regular = whole = latest = loop.time()
        while True:
            now, hubs = loop.time(), list(self._hubs.values())
            self._due = self._rested = math.inf
            if now < regular:
                pause = await self._carefully([hub for hub in hubs if hub.hurried], whole=False)
                regular = max(regular, min(loop.time() + pause, latest))
            else:
                pause = await self._carefully(hubs, whole=now >= whole)
                whole = now + ALL_SECONDS if now >= whole else whole
                regular = loop.time() + max(pause, self._seconds)
                latest = loop.time() + LONGEST_SECONDS  # however often hubs begin meanwhile
            self._rested = max(now + REST_SECONDS, loop.time() + pause)
            if any(hub.hurried for hub in self._hubs.values()):  # while this look was taken
                self.soon(at_once=False)
            self._due = min(self._due, regular)
            while loop.time() < self._due:
                await self._wait()

    async def _wait(self) -> None:
        self._wakeup.clear()
        try:
            async with asyncio.timeout_at(self._due):
                await self._wakeup.wait()
        except TimeoutError:
            pass

    async def _carefully(self, hubs: Sequence[Hub], *, whole: bool) -> float:
        """Look for those; how many seconds have to pass then until the next look."""
        gaps = {hub: hub.gaps for hub in hubs}
        for hub in hubs:
            hub.hurried = False
        try:
            found = await self._found(hubs, whole=whole)
        except StoreUnavailable:
            return 0.0  # the pictures are as events have them until it is back
        except Exception:  # our own defect: the next look may do better, and calls do not depend on this
            LOG.exception("what monitors should see could not be read")
            return 0.0
        for hub in hubs:
            try:
                await hub.looked(found[hub], gaps[hub])
            except Exception:  # as above, and neither do other tenants
                LOG.exception("the pictures of %s's calls could not be set right", hub.tenant or "everybody")
        return min(CALL_SECONDS * sum(map(len, found.values())), LONGEST_SECONDS)

    async def _found(self, hubs: Sequence[Hub], *, whole: bool) -> dict[Hub, list[KeptCall]]:
        """What the store has for each, with the ``whole`` of what has ended of late. Raises StoreUnavailable."""
        rows: list[KeptCall] = []
        for group in _groups(hubs):
            rows += await self._read(live.live(self._database, group))
        since = self._wall() - round(RECENT_SECONDS * 1e6)
        for group in _groups([hub for hub in hubs if whole or hub.gaps or not hub.ready.is_set()]):
            rows += await self._read(live.recent(self._database, group, since))
        found = _by_hub(hubs, rows)
        if missing := {key for hub in hubs for key in hub.missing(found[hub])}:
            others = _by_hub(hubs, await self._read(live.these(self._database, sorted(missing))))
            found = {hub: rows + others[hub] for hub, rows in found.items()}
        return found

    async def _read(self, question: Coroutine[Any, Any, list[KeptCall]]) -> list[KeptCall]:
        return await self._database.in_time(question, STORE_SECONDS)


def _groups(hubs: Sequence[Hub]) -> list[list[str] | None]:
    """Their tenants, as many at a time as one query takes; None: everybody's."""
    tenants = sorted(hub.tenant for hub in hubs)
    if EVERYBODY in tenants:
        return [None]
    return [tenants[place : place + TENANTS] for place in range(0, len(tenants), TENANTS)]


def _by_hub(hubs: Sequence[Hub], rows: Collection[KeptCall]) -> dict[Hub, list[KeptCall]]:
    by_tenant = defaultdict[str, list[KeptCall]](list)
    for row in rows:
        by_tenant[row.tenant].append(row)
    return {hub: list(rows) if hub.tenant == EVERYBODY else by_tenant[hub.tenant] for hub in hubs}
