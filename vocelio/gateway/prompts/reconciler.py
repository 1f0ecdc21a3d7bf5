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
from vocelio.gateway.errors import NotFound, TooManyRequests
from vocelio.gateway.prompts.keys import object_path
from vocelio.gateway.prompts.manifest import PromptManifests
from vocelio.gateway.storage.interfaces import Storage
from vocelio.gateway.store.db.database import Database
from vocelio.gateway.store.flows.versions import UnusableVersion
from vocelio.gateway.store.prompts import render_queue
from vocelio.gateway.store.prompts.render_queue import ActiveFlow

LOG = logging.getLogger(__name__)

DAY_MICROSECONDS = 86_400_000_000  # microseconds
THROTTLE_FACTOR = 3  # times as long as it took to look at a flow: there may be thousands, and calls come first
RETENTION_MICROSECONDS = (
    7 * DAY_MICROSECONDS
)  # what nobody says any more: a version that is promoted again by then is there at once


class _ReconciledFlow(NamedTuple):
    """A flow as it was when its sentences were entered."""

    flow: ActiveFlow
    day: int
    voices: Mapping[Voice, Voice | None]


class PromptReconciler:
    """The table's keeper, in every process: that two do the same does no harm."""

    def __init__(self, database: Database, storage: Storage, manifests: PromptManifests, wall: WallClock) -> None:
        self._database, self._storage, self._manifests, self._wall = database, storage, manifests, wall
        self._promoted_flows: dict[tuple[str, str], None] = {}  # at most one for each flow
        self._reconciled_flows: dict[tuple[str, str], _ReconciledFlow] = {}  # the flows that there are

    def on_promoted(self, tenant: str, flow: str) -> None:
        """Calls of the flow get another version now."""
        self._promoted_flows[(tenant, flow)] = None

    async def enqueue_promoted(self) -> int:
        """Enter what was told, and how many flows that was. Raises StoreUnavailable, TooMany: it is not forgotten."""
        count = 0
        while self._promoted_flows:
            tenant, flow = next(iter(self._promoted_flows))
            await self._enqueue_flow(tenant, flow)
            self._promoted_flows.pop((tenant, flow), None)
            count += 1
        return count

    async def reconcile(self) -> bool:
        """Enter what active versions say and is not there. False when not all could be looked at."""
        complete, clock = True, asyncio.get_running_loop().time
        found = await render_queue.list_active_flows(self._database)
        for one in found:
            await self.enqueue_promoted()
            if not self._is_reconciled(one):
                began = clock()
                complete &= await self._reconcile_flow(one)
                await asyncio.sleep(THROTTLE_FACTOR * (clock() - began))
        there = {(one.tenant, one.flow) for one in found}
        self._reconciled_flows = {key: seen for key, seen in self._reconciled_flows.items() if key in there}
        return complete

    async def collect_garbage(self) -> int:
        """Remove what nobody has said for a week, and how much that was. Raises StoreUnavailable."""
        before, count = self._wall() - RETENTION_MICROSECONDS, 0
        while rows := await render_queue.find_garbage(self._database, before, self._wall()):
            await self._storage.delete([object_path(tenant, one) for tenant, one in rows])
            by_tenant = defaultdict(list)
            for tenant, one in rows:
                by_tenant[tenant].append(one)
            for tenant, ones in by_tenant.items():
                await render_queue.delete_garbage(self._database, tenant, ones, before)
            count += len(rows)
        return count

    def _is_reconciled(self, flow: ActiveFlow) -> bool:
        seen = self._reconciled_flows.get((flow.tenant, flow.flow))
        if seen is None:
            return False
        return (
            seen.flow == flow
            and seen.day == self._wall() // DAY_MICROSECONDS
            and self._manifests.is_current(seen.voices)
        )

    async def _reconcile_flow(self, flow: ActiveFlow) -> bool:
        try:
            voices = await self._enqueue_flow(flow.tenant, flow.flow)
        except TooManyRequests:
            return False
        self._reconciled_flows[(flow.tenant, flow.flow)] = _ReconciledFlow(
            flow, self._wall() // DAY_MICROSECONDS, voices
        )
        return True

    async def _enqueue_flow(self, tenant: str, flow: str) -> Mapping[Voice, Voice | None]:
        """The voices of what was entered. Of a flow that calls cannot run, nothing is."""
        try:
            active = await self._manifests.get_active_manifest(self._database, tenant, flow)
        except (NotFound, UnusableVersion) as error:
            LOG.warning("the prompts of the flow %s of %s are not known: %s", flow, tenant, error)
            return {}
        if active is None:
            return {}
        await render_queue.enqueue(self._database, tenant, active.manifest.prompts, self._wall())
        return active.manifest.voices
