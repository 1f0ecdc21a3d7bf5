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
from vocelio.gateway.errors import DatabaseUnavailable
from vocelio.gateway.model.tenant import Tenant
from vocelio.gateway.prompts.keys import cache_key, object_path, voice_fingerprint
from vocelio.gateway.prompts.manifest import PromptManifests
from vocelio.gateway.storage.interfaces import ObjectNotFound, Storage
from vocelio.gateway.store.db.database import Database
from vocelio.gateway.store.prompts import render_queue

LOG = logging.getLogger(__name__)

MAX_BYTES = 64_000_000  # bytes, two hours and a quarter of speech: what was heard longest ago makes room
READ_CONCURRENCY = 16  # objects at once: S3 takes 50 ms for one, and a flow has 30
LOAD_TIMEOUT_SECONDS = 10.0  # for what a call needs: later it would come too late
NEGATIVE_TTL_SECONDS = 10.0  # what is not rendered is not looked for again by every call
MAX_NEGATIVE_ENTRIES = 100_000  # of such
UNAVAILABLE_PAUSE_SECONDS = 5.0  # a storage that has failed is left alone for so long

CacheKey = tuple[str, str]


class PromptCache:
    """All tenants' sentences; ``held`` bytes at most are in memory. A call's are waited for ``load_seconds``, and what
    is not rendered is looked for again after ``absent_seconds``.
    """

    def __init__(
        self,
        storage: Storage,
        database: Database,
        wall: WallClock = wall_clock,
        max_bytes: int = MAX_BYTES,
        load_timeout_seconds: float = LOAD_TIMEOUT_SECONDS,
        negative_ttl_seconds: float = NEGATIVE_TTL_SECONDS,
    ) -> None:
        self.storage = storage
        self._database, self._wall, self._load_timeout_seconds = database, wall, load_timeout_seconds
        self._cached: LRUCache[CacheKey, bytes] = LRUCache(max_bytes, getsizeof=len)
        self._negative: TTLCache[CacheKey, bool] = TTLCache(MAX_NEGATIVE_ENTRIES, negative_ttl_seconds, timer=_now)
        self._fetch_tasks: dict[CacheKey, asyncio.Task[None]] = {}  # one for each, at work or waiting for its turn
        self._read_slots = asyncio.Semaphore(READ_CONCURRENCY)
        self._unavailable_until = 0.0

    def get(self, tenant: str, voice: Voice, sentence: str) -> bytes | None:
        """The mu-law of a sentence (see ``engine.sentences.split``) in a voice, if it is in memory. Never waits."""
        return self._cached.get((tenant, cache_key(voice_fingerprint(voice), sentence)))

    async def load_keys(self, tenant: str, keys: Sequence[str]) -> None:
        """Have these in memory, as far as they are rendered, the first before the last. Raises nothing of the store's.

        They fill at most half of the memory: the rest is other flows'.
        """
        missing = [one for one in keys if self._needs_fetch(tenant, one)]
        if not missing or _now() < self._unavailable_until:
            return
        try:
            async with asyncio.timeout(self._load_timeout_seconds):
                there = await render_queue.get_ready_sizes(self._database, tenant, missing)
                self._negative.update({(tenant, one): True for one in missing if one not in there})
                still = [one for one in missing if one in there and (tenant, one) not in self._cached]
                wanted = self._select_fitting(still, there)
                if tasks := [self._start_fetch(tenant, one, there[one]) for one in wanted]:
                    await asyncio.wait(tasks)
        except (DatabaseUnavailable, TimeoutError):
            LOG.warning("the rendered prompts of %s do not come in time: they are spoken", tenant)

    async def put(self, tenant: str, key: str, mulaw: bytes) -> None:
        """Keep a sentence that was rendered just now. Raises StorageUnavailable."""
        await self.storage.put(object_path(tenant, key), mulaw)
        self._cache_audio(tenant, key, mulaw)

    async def aclose(self) -> None:
        """Give up what is being fetched."""
        tasks = list(self._fetch_tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _needs_fetch(self, tenant: str, key: str) -> bool:
        """Whether it is to be fetched; what is here already counts as heard just now."""
        return self._cached.get((tenant, key)) is None and (tenant, key) not in self._negative

    def _select_fitting(self, keys: Sequence[str], sizes: dict[str, int]) -> list[str]:
        room, fitting = self._cached.maxsize // 2, []
        for one in keys:
            room -= sizes[one]
            if room < 0:
                break
            fitting.append(one)
        return fitting

    def _start_fetch(self, tenant: str, key_digest: str, size: int) -> asyncio.Task[None]:
        key = (tenant, key_digest)
        if key not in self._fetch_tasks:
            task = asyncio.create_task(self._fetch(tenant, key_digest, size), name=f"prompt {key_digest}")
            self._fetch_tasks[key] = task
            task.add_done_callback(lambda _: self._fetch_tasks.pop(key))
        return self._fetch_tasks[key]

    async def _fetch(self, tenant: str, key: str, size: int) -> None:
        """Raises nothing: what does not come is spoken."""
        async with self._read_slots:
            if _now() < self._unavailable_until:
                return
            try:
                self._cache_audio(tenant, key, await self.storage.get(object_path(tenant, key), 0, size))
            except ObjectNotFound:
                await self._on_missing(tenant, key)
            except DatabaseUnavailable:  # the storage has told the log why
                self._unavailable_until = _now() + UNAVAILABLE_PAUSE_SECONDS
            except Exception:
                LOG.exception("the prompt %s of %s cannot be read", key, tenant)

    async def _on_missing(self, tenant: str, key: str) -> None:
        """Somebody has removed the object: it is rendered again."""
        LOG.warning("the prompt %s of %s is not in the storage any more", key, tenant)
        self._negative[(tenant, key)] = True
        try:
            await render_queue.requeue_missing(self._database, tenant, key, self._wall())
        except DatabaseUnavailable:
            LOG.warning("nor can the database be told")

    def _cache_audio(self, tenant: str, key: str, mulaw: bytes) -> None:
        self._negative.pop((tenant, key), None)
        if len(mulaw) <= self._cached.maxsize:
            self._cached[(tenant, key)] = mulaw


def _now() -> float:
    return asyncio.get_running_loop().time()


class PreloadingPromptCache:
    """The shelf, and what is to be on it."""

    def __init__(self, cache: PromptCache, manifests: PromptManifests) -> None:
        self.cache, self.manifests = cache, manifests

    def get(self, tenant: str, voice: Voice, sentence: str) -> bytes | None:
        """The mu-law of a sentence in the voice that would speak it now, if it is at hand. Never waits."""
        return self.cache.get(tenant, voice, sentence)

    async def preload(self, tenant: Tenant, version: FlowVersion) -> None:
        """A call begins: have what it may say at hand. Raises nothing of the store's; takes ten seconds at most."""
        plan = await self.manifests.get_manifest(tenant, version)
        await self.cache.load_keys(tenant.id, [one.id for one in plan.prompts])
