"""The keeper: sees to it that the table has what active versions say, and nothing that none has said for a week.

A promotion is told to it and entered at once. Whatever it was not told of (another process's promotion that was killed
too early, a tenant's new name) it finds every ten minutes; each flow is looked at when it, its tenant or its voices
have changed, and once a day, so that what is wanted is known to be.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Mapping
from typing import NamedTuple

from vocelio.engine.voice import Voice
from vocelio.gateway.clock import WallClock
from vocelio.gateway.errors import NotFound, TooMany
from vocelio.gateway.prompts.keys import path
from vocelio.gateway.prompts.manifest import Plans
from vocelio.gateway.storage.interfaces import Storage
from vocelio.gateway.store.db.database import Database
from vocelio.gateway.store.flows.versions import UnusableVersion
from vocelio.gateway.store.prompts import render_queue
from vocelio.gateway.store.prompts.render_queue import Active

LOG = logging.getLogger(__name__)

DAY = 86_400_000_000  # microseconds
REST = 3  # times as long as it took to look at a flow: there may be thousands, and calls come first
KEPT = 7 * DAY  # what nobody says any more: a version that is promoted again by then is there at once


class _Seen(NamedTuple):
    """A flow as it was when its sentences were entered."""

    active: Active
    day: int
    voices: Mapping[Voice, Voice | None]


class Keeper:
    """The table's keeper, in every process: that two do the same does no harm."""

    def __init__(self, database: Database, storage: Storage, plans: Plans, wall: WallClock) -> None:
        self._database, self._storage, self._plans, self._wall = database, storage, plans, wall
        self._promoted: dict[tuple[str, str], None] = {}  # at most one for each flow
        self._seen: dict[tuple[str, str], _Seen] = {}  # the flows that there are

    def promoted(self, tenant: str, flow: str) -> None:
        """Calls of the flow get another version now."""
        self._promoted[(tenant, flow)] = None

    async def enter_promoted(self) -> int:
        """Enter what was told, and how many flows that was. Raises StoreUnavailable, TooMany: it is not forgotten."""
        count = 0
        while self._promoted:
            tenant, flow = next(iter(self._promoted))
            await self._enter(tenant, flow)
            self._promoted.pop((tenant, flow), None)
            count += 1
        return count

    async def reconcile(self) -> bool:
        """Enter what active versions say and is not there. False when not all could be looked at."""
        complete, clock = True, asyncio.get_running_loop().time
        found = await render_queue.active(self._database)
        for one in found:
            await self.enter_promoted()
            if not self._known(one):
                began = clock()
                complete &= await self._look(one)
                await asyncio.sleep(REST * (clock() - began))
        there = {(one.tenant, one.flow) for one in found}
        self._seen = {key: seen for key, seen in self._seen.items() if key in there}
        return complete

    async def collect(self) -> int:
        """Remove what nobody has said for a week, and how much that was. Raises StoreUnavailable."""
        before, count = self._wall() - KEPT, 0
        while rows := await render_queue.unwanted(self._database, before, self._wall()):
            await self._storage.delete([path(tenant, one) for tenant, one in rows])
            by_tenant = defaultdict(list)
            for tenant, one in rows:
                by_tenant[tenant].append(one)
            for tenant, ones in by_tenant.items():
                await render_queue.forget(self._database, tenant, ones, before)
            count += len(rows)
        return count

    def _known(self, one: Active) -> bool:
        seen = self._seen.get((one.tenant, one.flow))
        if seen is None:
            return False
        return seen.active == one and seen.day == self._wall() // DAY and self._plans.still(seen.voices)

    async def _look(self, one: Active) -> bool:
        try:
            voices = await self._enter(one.tenant, one.flow)
        except TooMany:
            return False
        self._seen[(one.tenant, one.flow)] = _Seen(one, self._wall() // DAY, voices)
        return True

    async def _enter(self, tenant: str, flow: str) -> Mapping[Voice, Voice | None]:
        """The voices of what was entered. Of a flow that calls cannot run, nothing is."""
        try:
            active = await self._plans.active(self._database, tenant, flow)
        except (NotFound, UnusableVersion) as error:
            LOG.warning("the prompts of the flow %s of %s are not known: %s", flow, tenant, error)
            return {}
        if active is None:
            return {}
        await render_queue.enter(self._database, tenant, active.plan.wanted, self._wall())
        return active.plan.voices
