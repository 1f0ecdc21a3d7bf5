"""What a call asks for: its flow's sentences in memory when it begins, and each of them when it is to be said.

The shelf: rendered sentences in memory, in front of the storage that keeps them all.

A call looks in memory only, which takes no time and never fails. What its flow says is fetched when it begins; what
the table does not know as rendered, the storage is not asked for. Whatever is not here is spoken by a provider.
"""

import asyncio
import logging
from collections.abc import Sequence

from cachetools import LRUCache, TTLCache

from vocelio.engine.flow import FlowVersion
from vocelio.engine.voice import Voice
from vocelio.gateway.clock import WallClock, wall_clock
from vocelio.gateway.errors import StoreUnavailable
from vocelio.gateway.model.tenant import Tenant
from vocelio.gateway.prompts.keys import address, fingerprint, path
from vocelio.gateway.prompts.manifest import Plans
from vocelio.gateway.storage.interfaces import Missing, Storage
from vocelio.gateway.store.db.database import Database
from vocelio.gateway.store.prompts import render_queue

LOG = logging.getLogger(__name__)

HELD = 64_000_000  # bytes, two hours and a quarter of speech: what was heard longest ago makes room
READERS = 16  # objects at once: S3 takes 50 ms for one, and a flow has 30
LOAD_SECONDS = 10.0  # for what a call needs: later it would come too late
ABSENT_SECONDS = 10.0  # what is not rendered is not looked for again by every call
ABSENT = 100_000  # of such
AWAY_SECONDS = 5.0  # a storage that has failed is left alone for so long

Key = tuple[str, str]


class Shelf:
    """All tenants' sentences; ``held`` bytes at most are in memory. A call's are waited for ``load_seconds``, and what
    is not rendered is looked for again after ``absent_seconds``.
    """

    def __init__(
        self,
        storage: Storage,
        database: Database,
        wall: WallClock = wall_clock,
        held: int = HELD,
        load_seconds: float = LOAD_SECONDS,
        absent_seconds: float = ABSENT_SECONDS,
    ) -> None:
        self.storage = storage
        self._database, self._wall, self._load_seconds = database, wall, load_seconds
        self._held: LRUCache[Key, bytes] = LRUCache(held, getsizeof=len)
        self._absent: TTLCache[Key, bool] = TTLCache(ABSENT, absent_seconds, timer=_now)
        self._fetching: dict[Key, asyncio.Task[None]] = {}  # one for each, at work or waiting for its turn
        self._readers = asyncio.Semaphore(READERS)
        self._away_until = 0.0

    def get(self, tenant: str, voice: Voice, sentence: str) -> bytes | None:
        """The mu-law of a sentence (see ``engine.sentences.split``) in a voice, if it is in memory. Never waits."""
        return self._held.get((tenant, address(fingerprint(voice), sentence)))

    async def load(self, tenant: str, addresses: Sequence[str]) -> None:
        """Have these in memory, as far as they are rendered, the first before the last. Raises nothing of the store's.

        They fill at most half of the memory: the rest is other flows'.
        """
        missing = [one for one in addresses if self._looked_for(tenant, one)]
        if not missing or _now() < self._away_until:
            return
        try:
            async with asyncio.timeout(self._load_seconds):
                there = await render_queue.ready(self._database, tenant, missing)
                self._absent.update({(tenant, one): True for one in missing if one not in there})
                still = [one for one in missing if one in there and (tenant, one) not in self._held]
                wanted = self._fitting(still, there)
                if tasks := [self._fetched(tenant, one, there[one]) for one in wanted]:
                    await asyncio.wait(tasks)
        except (StoreUnavailable, TimeoutError):
            LOG.warning("the rendered prompts of %s do not come in time: they are spoken", tenant)

    async def keep(self, tenant: str, one: str, mulaw: bytes) -> None:
        """Keep a sentence that was rendered just now. Raises StorageUnavailable."""
        await self.storage.put(path(tenant, one), mulaw)
        self._put(tenant, one, mulaw)

    async def aclose(self) -> None:
        """Give up what is being fetched."""
        tasks = list(self._fetching.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _looked_for(self, tenant: str, one: str) -> bool:
        """Whether it is to be fetched; what is here already counts as heard just now."""
        return self._held.get((tenant, one)) is None and (tenant, one) not in self._absent

    def _fitting(self, ordered: Sequence[str], sizes: dict[str, int]) -> list[str]:
        room, fitting = self._held.maxsize // 2, []
        for one in ordered:
            room -= sizes[one]
            if room < 0:
                break
            fitting.append(one)
        return fitting

    def _fetched(self, tenant: str, one: str, size: int) -> asyncio.Task[None]:
        key = (tenant, one)
        if key not in self._fetching:
            task = asyncio.create_task(self._fetch(tenant, one, size), name=f"prompt {one}")
            self._fetching[key] = task
            task.add_done_callback(lambda _: self._fetching.pop(key))
        return self._fetching[key]

    async def _fetch(self, tenant: str, one: str, size: int) -> None:
        """Raises nothing: what does not come is spoken."""
        async with self._readers:
            if _now() < self._away_until:
                return
            try:
                self._put(tenant, one, await self.storage.get(path(tenant, one), 0, size))
            except Missing:
                await self._lost(tenant, one)
            except StoreUnavailable:  # the storage has told the log why
                self._away_until = _now() + AWAY_SECONDS
            except Exception:
                LOG.exception("the prompt %s of %s cannot be read", one, tenant)

    async def _lost(self, tenant: str, one: str) -> None:
        """Somebody has removed the object: it is rendered again."""
        LOG.warning("the prompt %s of %s is not in the storage any more", one, tenant)
        self._absent[(tenant, one)] = True
        try:
            await render_queue.lost(self._database, tenant, one, self._wall())
        except StoreUnavailable:
            LOG.warning("nor can the database be told")

    def _put(self, tenant: str, one: str, mulaw: bytes) -> None:
        self._absent.pop((tenant, one), None)
        if len(mulaw) <= self._held.maxsize:
            self._held[(tenant, one)] = mulaw


def _now() -> float:
    return asyncio.get_running_loop().time()


class Rendered:
    """The shelf, and what is to be on it."""

    def __init__(self, shelf: Shelf, plans: Plans) -> None:
        self.shelf, self.plans = shelf, plans

    def get(self, tenant: str, voice: Voice, sentence: str) -> bytes | None:
        """The mu-law of a sentence in the voice that would speak it now, if it is at hand. Never waits."""
        return self.shelf.get(tenant, voice, sentence)

    async def prepare(self, tenant: Tenant, version: FlowVersion) -> None:
        """A call begins: have what it may say at hand. Raises nothing of the store's; takes ten seconds at most."""
        plan = await self.plans.of(tenant, version)
        await self.shelf.load(tenant.id, [one.id for one in plan.wanted])
