"""The renderer: in the background of every process that serves, a few sentences at a time are rendered.

The database says what is due, and who is at it. Live calls come first: no more than ``at_once`` are under way, however
much there is to do, and tenants have their turns. A process that ends gives back what it was at.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from vocelio.gateway.clock import WallClock, wall_clock
from vocelio.gateway.errors import StoreUnavailable, TooMany
from vocelio.gateway.prompts.cache import Shelf
from vocelio.gateway.prompts.manifest import Plans, Synthesise
from vocelio.gateway.prompts.reconciler import Keeper
from vocelio.gateway.prompts.render_job import SPEAK_SECONDS, Making
from vocelio.gateway.store.db.database import Database
from vocelio.gateway.store.prompts import render_queue
from vocelio.gateway.store.prompts.render_queue import Task

LOG = logging.getLogger(__name__)

AT_ONCE = 2  # sentences: providers allow few streams at once, and those are the callers'
LEASE_SECONDS = SPEAK_SECONDS + 20  # with what keeping takes at worst, so that whoever is at it has ended by then
POLL_SECONDS = 5.0  # after which another process's promotions, and what failed, are seen
AWAY_SECONDS = 10.0  # until the store is asked again after it has failed
RECONCILE_SECONDS = 600.0

SECOND = 1_000_000  # microseconds


class Renderer:
    """One process's worker (see app.Worker)."""

    def __init__(
        self,
        database: Database,
        shelf: Shelf,
        plans: Plans,
        synthesise: Synthesise,
        wall: WallClock = wall_clock,
        at_once: int = AT_ONCE,
    ) -> None:
        self.plans = plans
        self.keeper = Keeper(database, shelf.storage, plans, wall)
        self._making = Making(database, shelf, plans.renders, synthesise, wall)
        self._database, self._wall, self._at_once = database, wall, at_once
        self._wanted, self._told = asyncio.Event(), asyncio.Event()
        self._claimed: set[Task] = set()  # at most at_once
        self._after = ""
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Begin."""
        self._begin(self._keep(), "keeper of prompts")
        for number in range(self._at_once):
            self._begin(self._work(), f"renderer {number}")

    def promoted(self, tenant: str, flow: str) -> None:
        """Calls of the flow get another version now: its sentences are entered and rendered soon."""
        self.keeper.promoted(tenant, flow)
        self._told.set()

    def wake(self) -> None:
        """Something is due: look now, not at the next turn."""
        self._wanted.set()

    async def aclose(self) -> None:
        """End, and let others have what is under way."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        try:
            for claimed in self._claimed:
                await render_queue.give_back(self._database, claimed)
        except StoreUnavailable:
            LOG.info("what was being rendered is others' when its claim ends")

    async def run_due(self) -> int:
        """Render what is due, one after another, and how much that was. Raises StoreUnavailable."""
        count = 0
        while await self._one():
            count += 1
        return count

    # The workers

    def _begin(self, work: Coroutine[Any, Any, None], name: str) -> None:
        self._tasks.add(asyncio.create_task(work, name=name))

    async def _work(self) -> None:
        while True:
            self._wanted.clear()
            worked = await _carefully(self._one, "a prompt")
            if worked is None:
                await asyncio.sleep(AWAY_SECONDS)
            elif not worked:
                await _heard(self._wanted, POLL_SECONDS)

    async def _one(self) -> bool:
        """Render one that is due, if there is any."""
        until = self._wall() + round(LEASE_SECONDS * SECOND)
        task = await render_queue.take(self._database, self._wall(), until, self._after, self._making.paused())
        if task is None:
            return False
        self._after = task.tenant
        self._claimed.add(task)
        try:
            await self._making.make(task)
        except Exception:  # but not when we are told to end: then the claim is given back
            self._claimed.discard(task)
            raise
        self._claimed.discard(task)
        return True

    # The keeper's turns

    async def _keep(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            self._told.clear()
            late = loop.time() >= due
            kept = await _carefully(self._turn if late else self._enter, "the keeping of prompts")
            if kept is None:
                await asyncio.sleep(AWAY_SECONDS)
                continue
            due = loop.time() + RECONCILE_SECONDS if late else due
            await _heard(self._told, due - loop.time())

    async def _turn(self) -> bool:
        """Only if everything was looked at is it known what nobody wants."""
        complete = await self.keeper.reconcile()
        self.wake()
        if complete and (collected := await self.keeper.collect()):
            LOG.info("%d rendered prompts were removed, which no active version says", collected)
        return True

    async def _enter(self) -> bool:
        if await self.keeper.enter_promoted():
            self.wake()
        return True


async def _carefully(work: Callable[[], Awaitable[bool]], what: str) -> bool | None:
    """What it gives; None when it failed, whatever that was: the next turn may be better."""
    try:
        return await work()
    except (StoreUnavailable, TooMany) as error:
        LOG.warning("%s has to wait: %s", what, error)
    except Exception:
        LOG.exception("%s failed", what)
    return None


async def _heard(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(max(seconds, 0.0)):
            await event.wait()
    except TimeoutError:
        return
