"""The renderer: in the background of every process that serves, a few sentences at a time are rendered.

The database says what is due, and who is at it. Live calls come first: no more than ``at_once`` are under way, however
much there is to do, and tenants have their turns. A process that ends gives back what it was at.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from vocelio.gateway.clock import WallClock, wall_clock
from vocelio.gateway.errors import DatabaseUnavailable, TooManyRequests
from vocelio.gateway.prompts.cache import PromptCache
from vocelio.gateway.prompts.manifest import PromptManifests, SentenceSynthesizer
from vocelio.gateway.prompts.reconciler import PromptReconciler
from vocelio.gateway.prompts.render_job import SYNTHESIS_TIMEOUT_SECONDS, PromptRenderer
from vocelio.gateway.store.db.database import Database
from vocelio.gateway.store.prompts import render_queue
from vocelio.gateway.store.prompts.render_queue import RenderTask

LOG = logging.getLogger(__name__)

DEFAULT_CONCURRENCY = 2  # sentences: providers allow few streams at once, and those are the callers'
LEASE_SECONDS = (
    SYNTHESIS_TIMEOUT_SECONDS + 20
)  # with what keeping takes at worst, so that whoever is at it has ended by then
POLL_INTERVAL_SECONDS = 5.0  # after which another process's promotions, and what failed, are seen
UNAVAILABLE_RETRY_SECONDS = 10.0  # until the store is asked again after it has failed
RECONCILE_INTERVAL_SECONDS = 600.0

MICROSECONDS_PER_SECOND = 1_000_000  # microseconds


class PromptRenderWorker:
    """One process's worker (see app.Worker)."""

    def __init__(
        self,
        database: Database,
        cache: PromptCache,
        manifests: PromptManifests,
        synthesize: SentenceSynthesizer,
        wall: WallClock = wall_clock,
        concurrency: int = DEFAULT_CONCURRENCY,
    ) -> None:
        self.manifests = manifests
        self.reconciler = PromptReconciler(database, cache.storage, manifests, wall)
        self._renderer = PromptRenderer(database, cache, manifests.resolve_voice, synthesize, wall)
        self._database, self._wall, self._concurrency = database, wall, concurrency
        self._work_available, self._reconcile_requested = asyncio.Event(), asyncio.Event()
        self._leased: set[RenderTask] = set()  # at most at_once
        self._last_tenant = ""
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Begin."""
        self._start_task(self._run_reconcile_loop(), "keeper of prompts")
        for number in range(self._concurrency):
            self._start_task(self._run_render_loop(), f"renderer {number}")

    def on_promoted(self, tenant: str, flow: str) -> None:
        """Calls of the flow get another version now: its sentences are entered and rendered soon."""
        self.reconciler.on_promoted(tenant, flow)
        self._reconcile_requested.set()

    def notify(self) -> None:
        """Something is due: look now, not at the next turn."""
        self._work_available.set()

    async def aclose(self) -> None:
        """End, and let others have what is under way."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        try:
            for claimed in self._leased:
                await render_queue.release(self._database, claimed)
        except DatabaseUnavailable:
            LOG.info("what was being rendered is others' when its claim ends")

    async def run_due(self) -> int:
        """Render what is due, one after another, and how much that was. Raises StoreUnavailable."""
        count = 0
        while await self._render_next():
            count += 1
        return count

    # The workers

    def _start_task(self, work: Coroutine[Any, Any, None], name: str) -> None:
        self._tasks.add(asyncio.create_task(work, name=name))

    async def _run_render_loop(self) -> None:
        while True:
            self._work_available.clear()
            worked = await _log_errors(self._render_next, "a prompt")
            if worked is None:
                await asyncio.sleep(UNAVAILABLE_RETRY_SECONDS)
            elif not worked:
                await _wait(self._work_available, POLL_INTERVAL_SECONDS)

    async def _render_next(self) -> bool:
        """Render one that is due, if there is any."""
        until = self._wall() + round(LEASE_SECONDS * MICROSECONDS_PER_SECOND)
        task = await render_queue.claim_next(
            self._database, self._wall(), until, self._last_tenant, self._renderer.paused_tiers()
        )
        if task is None:
            return False
        self._last_tenant = task.tenant
        self._leased.add(task)
        try:
            await self._renderer.render(task)
        except Exception:  # but not when we are told to end: then the claim is given back
            self._leased.discard(task)
            raise
        self._leased.discard(task)
        return True

    # The keeper's turns

    async def _run_reconcile_loop(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            self._reconcile_requested.clear()
            late = loop.time() >= due
            kept = await _log_errors(self._reconcile if late else self._enqueue_promoted, "the keeping of prompts")
            if kept is None:
                await asyncio.sleep(UNAVAILABLE_RETRY_SECONDS)
                continue
            due = loop.time() + RECONCILE_INTERVAL_SECONDS if late else due
            await _wait(self._reconcile_requested, due - loop.time())

    async def _reconcile(self) -> bool:
        """Only if everything was looked at is it known what nobody wants."""
        complete = await self.reconciler.reconcile()
        self.notify()
        if complete and (collected := await self.reconciler.collect_garbage()):
            LOG.info("%d rendered prompts were removed, which no active version says", collected)
        return True

    async def _enqueue_promoted(self) -> bool:
        if await self.reconciler.enqueue_promoted():
            self.notify()
        return True


async def _log_errors(work: Callable[[], Awaitable[bool]], what: str) -> bool | None:
    """What it gives; None when it failed, whatever that was: the next turn may be better."""
    try:
        return await work()
    except (DatabaseUnavailable, TooManyRequests) as error:
        LOG.warning("%s has to wait: %s", what, error)
    except Exception:
        LOG.exception("%s failed", what)
    return None


async def _wait(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(max(seconds, 0.0)):
            await event.wait()
    except TimeoutError:
        return
