"""Prompt reconciler: enqueue the sentences of active versions, and delete those that none has used for a week.

A promotion of this process is enqueued at once. Everything else (a promotion of a process that was killed too early, a
tenant's new name) is found by reconciling every ten minutes; a flow is checked when it, its tenant or its voices have
changed, and once a day, so that its sentences count as used.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Mapping
from typing import NamedTuple

from vocelio.engine.voice import Voice
from vocelio.gateway.clock import WallClock
from vocelio.gateway.errors import NotFound, RateLimited
from vocelio.gateway.prompts.manifest import PromptManifests, object_path
from vocelio.gateway.storage.interfaces import Storage
from vocelio.gateway.store import render_queue
from vocelio.gateway.store.db.database import Database
from vocelio.gateway.store.flows.versions import UnusableVersion
from vocelio.gateway.store.render_queue import ActiveFlow

LOG = logging.getLogger(__name__)

DAY_MICROSECONDS = 86_400_000_000
THROTTLE_FACTOR = 3  # pause after a flow, as a multiple of its duration: calls come first
RETENTION_MICROSECONDS = 7 * DAY_MICROSECONDS  # of unused prompts: a rollback within that time needs no rendering


class _ReconciledFlow(NamedTuple):
    """A flow at the time its sentences were enqueued."""

    flow: ActiveFlow
    day: int
    voices: Mapping[Voice, Voice | None]


class PromptReconciler:
    """Runs in every process; the same work done by two is harmless."""

    def __init__(self, database: Database, storage: Storage, manifests: PromptManifests, wall: WallClock) -> None:
        self._database, self._storage, self._manifests, self._wall = database, storage, manifests, wall
        self._promoted_flows: dict[tuple[str, str], None] = {}  # at most one entry per flow
        self._reconciled_flows: dict[tuple[str, str], _ReconciledFlow] = {}  # at most one entry per active flow

    def on_promoted(self, tenant: str, flow: str) -> None:
        """Remember that a flow has got a new active version."""
        self._promoted_flows[(tenant, flow)] = None

    async def enqueue_promoted(self) -> int:
        """Enqueue the flows promoted by this process; return how many.

        Raises DatabaseUnavailable, RateLimited; the flows are kept for the next attempt.
        """
        count = 0
        while self._promoted_flows:
            tenant, flow = next(iter(self._promoted_flows))
            await self._enqueue_flow(tenant, flow)
            self._promoted_flows.pop((tenant, flow), None)
            count += 1
        return count

    async def reconcile(self) -> bool:
        """Enqueue the missing sentences of all active versions. Return False if some could not be checked."""
        complete, clock = True, asyncio.get_running_loop().time
        active_flows = await render_queue.list_active_flows(self._database)
        for flow in active_flows:
            await self.enqueue_promoted()
            if not self._is_reconciled(flow):
                started_at = clock()
                complete &= await self._reconcile_flow(flow)
                await asyncio.sleep(THROTTLE_FACTOR * (clock() - started_at))
        active_keys = {(flow.tenant, flow.flow) for flow in active_flows}
        self._reconciled_flows = {key: flow for key, flow in self._reconciled_flows.items() if key in active_keys}
        return complete

    async def collect_garbage(self) -> int:
        """Delete the prompts that no version has used for a week; return how many. Raises DatabaseUnavailable."""
        before, count = self._wall() - RETENTION_MICROSECONDS, 0
        while rows := await render_queue.find_garbage(self._database, before, self._wall()):
            await self._storage.delete([object_path(tenant, prompt_id) for tenant, prompt_id in rows])
            by_tenant = defaultdict(list)
            for tenant, prompt_id in rows:
                by_tenant[tenant].append(prompt_id)
            for tenant, prompt_ids in by_tenant.items():
                await render_queue.delete_garbage(self._database, tenant, prompt_ids, before)
            count += len(rows)
        return count

    def _is_reconciled(self, flow: ActiveFlow) -> bool:
        reconciled = self._reconciled_flows.get((flow.tenant, flow.flow))
        if reconciled is None:
            return False
        return (
            reconciled.flow == flow
            and reconciled.day == self._wall() // DAY_MICROSECONDS
            and self._manifests.is_current(reconciled.voices)
        )

    async def _reconcile_flow(self, flow: ActiveFlow) -> bool:
        try:
            voices = await self._enqueue_flow(flow.tenant, flow.flow)
        except RateLimited:
            return False
        day = self._wall() // DAY_MICROSECONDS
        self._reconciled_flows[(flow.tenant, flow.flow)] = _ReconciledFlow(flow, day, voices)
        return True

    async def _enqueue_flow(self, tenant: str, flow: str) -> Mapping[Voice, Voice | None]:
        """Enqueue the sentences of a flow and return its voices. A version that cannot be run is skipped."""
        try:
            active = await self._manifests.get_active_manifest(self._database, tenant, flow)
        except (NotFound, UnusableVersion) as error:
            LOG.warning("tenant %s: prompts of flow %s are not rendered: %s", tenant, flow, error)
            return {}
        if active is None:
            return {}
        await render_queue.enqueue(self._database, tenant, active.manifest.prompts, self._wall())
        return active.manifest.voices
