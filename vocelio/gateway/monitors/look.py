"""One look into the store for all hubs of a process, every second: a query for each would cost more than the calls do.

A hub that knows that it misses something is looked after sooner, together with whichever others do.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Collection, Coroutine, Sequence
from typing import Any

from vocelio.gateway.errors import StoreUnavailable
from vocelio.gateway.events.bus import EVERYBODY
from vocelio.gateway.monitors.hub import Hub
from vocelio.gateway.store import live
from vocelio.gateway.store.database import Database
from vocelio.gateway.store.live import KeptCall

LOG = logging.getLogger(__name__)

LOOK_SECONDS = 1.0  # between two looks
SOON_SECONDS = 0.1  # from a hole in a call's events to the look that mends it: what is on its way has come by then
STORE_SECONDS = 5.0
TENANTS = 100  # of one query


class Look:
    """Looks for those in ``hubs``, by tenant, from ``start`` to ``aclose``. ``seconds`` lie between two looks."""

    def __init__(self, hubs: dict[str, Hub], database: Database, seconds: float = LOOK_SECONDS) -> None:
        self.seconds = seconds
        self._hubs, self._database = hubs, database
        self._wakeup = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin."""
        self._task = asyncio.create_task(self._run(), name="look of monitors")

    async def aclose(self) -> None:
        """End at once."""
        if self._task:
            self._task.cancel()
            await asyncio.wait({self._task})

    def soon(self) -> None:
        """A hub is ``hurried``."""
        self._wakeup.set()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            if loop.time() >= due:
                hubs, due = list(self._hubs.values()), loop.time() + self.seconds
            else:
                hubs = [hub for hub in self._hubs.values() if hub.hurried]
            if hubs:
                await self._carefully(hubs)
            await self._wait(due)

    async def _wait(self, due: float) -> None:
        try:
            async with asyncio.timeout_at(due):
                await self._wakeup.wait()
                await asyncio.sleep(SOON_SECONDS)
        except TimeoutError:
            pass
        self._wakeup.clear()

    async def _carefully(self, hubs: Sequence[Hub]) -> None:
        gaps = {hub: hub.gaps for hub in hubs}
        for hub in hubs:
            hub.hurried = False
        try:
            found = await self._found(hubs)
        except StoreUnavailable:
            return  # the pictures are as events have them until it is back
        except Exception:  # our own defect: the next look may do better, and calls do not depend on this
            LOG.exception("what monitors should see could not be read")
            return
        for hub in hubs:
            try:
                await hub.looked(found[hub], gaps[hub])
            except Exception:  # as above, and neither do other tenants
                LOG.exception("the pictures of %s's calls could not be set right", hub.tenant or "everybody")

    async def _found(self, hubs: Sequence[Hub]) -> dict[Hub, list[KeptCall]]:
        """What the store has for each. Raises StoreUnavailable."""
        tenants = sorted(hub.tenant for hub in hubs)
        groups = [tenants[place : place + TENANTS] for place in range(0, len(tenants), TENANTS)]
        rows: list[KeptCall] = []
        for group in [None] if EVERYBODY in tenants else groups:
            rows += await self._read(live.live(self._database, group))
        found = _by_hub(hubs, rows)
        if missing := {key for hub in hubs for key in hub.missing(found[hub])}:
            others = _by_hub(hubs, await self._read(live.these(self._database, sorted(missing))))
            found = {hub: rows + others[hub] for hub, rows in found.items()}
        return found

    async def _read(self, question: Coroutine[Any, Any, list[KeptCall]]) -> list[KeptCall]:
        return await self._database.in_time(question, STORE_SECONDS)


def _by_hub(hubs: Sequence[Hub], rows: Collection[KeptCall]) -> dict[Hub, list[KeptCall]]:
    by_tenant = defaultdict[str, list[KeptCall]](list)
    for row in rows:
        by_tenant[row.tenant].append(row)
    return {hub: list(rows) if hub.tenant == EVERYBODY else by_tenant[hub.tenant] for hub in hubs}
