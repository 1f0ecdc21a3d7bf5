"""Prompt render worker: render due sentences in the background of every process that serves calls.

Live calls come first: a few sentences are rendered at a time however many are due, and tenants take turns.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from vocelio.gateway.aio.leased_worker import LeasedWorker, wait_for_event
from vocelio.gateway.clock import WallClock, wall_clock
from vocelio.gateway.errors import DatabaseUnavailable, RateLimited
from vocelio.gateway.prompts.cache import PromptCache
from vocelio.gateway.prompts.manifest import PromptManifests, SentenceSynthesizer
from vocelio.gateway.prompts.reconciler import PromptReconciler
from vocelio.gateway.prompts.render_job import SYNTHESIS_TIMEOUT_SECONDS, PromptRenderer
from vocelio.gateway.store import render_queue
from vocelio.gateway.store.db.database import Database
from vocelio.gateway.store.render_queue import RenderTask

LOG = logging.getLogger(__name__)

DEFAULT_CONCURRENCY = 2  # sentences: providers allow few streams at once, and callers need them
LEASE_SECONDS = SYNTHESIS_TIMEOUT_SECONDS + 20  # and at most 20 for storing the audio
RECONCILE_INTERVAL_SECONDS = 600.0
RECONCILE_RETRY_SECONDS = 10.0  # after a failure

MICROSECONDS_PER_SECOND = 1_000_000


class PromptRenderWorker(LeasedWorker[RenderTask]):
    """The worker of one process: renders due sentences, and reconciles the queue with the active versions."""

    def __init__(
        self,
        database: Database,
        cache: PromptCache,
        manifests: PromptManifests,
        synthesize: SentenceSynthesizer,
        wall: WallClock = wall_clock,
        concurrency: int = DEFAULT_CONCURRENCY,
    ) -> None:
        super().__init__("prompt rendering", concurrency, LEASE_SECONDS)
        self.manifests = manifests
        self.reconciler = PromptReconciler(database, cache.storage, manifests, wall)
        self._renderer = PromptRenderer(database, cache, manifests.resolve_voice, synthesize, wall)
        self._database, self._wall = database, wall
        self._reconcile_requested = asyncio.Event()
        self._reconcile_task: asyncio.Task[None] | None = None
        self._last_tenant = ""

    async def start(self) -> None:
        """Start rendering and reconciling."""
        await super().start()
        self._reconcile_task = asyncio.create_task(self._run_reconcile_loop(), name="prompt reconciliation")

    async def aclose(self) -> None:
        """Cancel all work, and release leases so that other processes continue at once."""
        if self._reconcile_task:
            self._reconcile_task.cancel()
            await asyncio.gather(self._reconcile_task, return_exceptions=True)
        await super().aclose()

    def on_promoted(self, tenant: str, flow: str) -> None:
        """Enqueue the sentences of a flow's new active version soon."""
        self.reconciler.on_promoted(tenant, flow)
        self._reconcile_requested.set()

    async def _lease_due(self, limit: int) -> Sequence[RenderTask]:
        tasks: list[RenderTask] = []
        while len(tasks) < limit:
            now = self._wall()
            lease_until = now + round(LEASE_SECONDS * MICROSECONDS_PER_SECOND)
            paused_tiers = self._renderer.paused_tiers()
            task = await render_queue.lease_next(
                self._database, self.worker_id, now, lease_until, self._last_tenant, paused_tiers
            )
            if task is None:
                break
            self._last_tenant = task.tenant
            tasks.append(task)
        return tasks

    async def _process(self, task: RenderTask) -> None:
        await self._renderer.render(task)

    async def _release_leases(self) -> None:
        await render_queue.release_all(self._database, self.worker_id)

    # Reconciliation

    async def _run_reconcile_loop(self) -> None:
        loop = asyncio.get_running_loop()
        due_at = loop.time()
        while True:
            self._reconcile_requested.clear()
            is_due = loop.time() >= due_at
            if not await _log_errors(self._reconcile if is_due else self._enqueue_promoted):
                await asyncio.sleep(RECONCILE_RETRY_SECONDS)
                continue
            due_at = loop.time() + RECONCILE_INTERVAL_SECONDS if is_due else due_at
            await wait_for_event(self._reconcile_requested, due_at - loop.time())

    async def _reconcile(self) -> None:
        """Reconcile; delete unused prompts only if every flow was checked."""
        complete = await self.reconciler.reconcile()
        self.notify()
        if complete and (deleted := await self.reconciler.collect_garbage()):
            LOG.info("deleted %d rendered prompts that no active version uses", deleted)

    async def _enqueue_promoted(self) -> None:
        if await self.reconciler.enqueue_promoted():
            self.notify()


async def _log_errors(work: Callable[[], Awaitable[None]]) -> bool:
    """Run ``work``; log an error, and return whether there was none."""
    try:
        await work()
    except (DatabaseUnavailable, RateLimited) as error:
        LOG.warning("prompt reconciliation failed: %s; retrying in %g s", error, RECONCILE_RETRY_SECONDS)
    except Exception:
        LOG.exception("prompt reconciliation failed; retrying in %g s", RECONCILE_RETRY_SECONDS)
    else:
        return True
    return False
