"""Prompt cache: rendered sentences in memory, in front of the object storage.

A call only reads memory, which takes no time and never fails; its flow's sentences are loaded when it starts. A
sentence that is not cached is synthesized by a provider. Keys that are not rendered are never requested from the
storage.
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
from vocelio.gateway.prompts.manifest import PromptManifests, cache_key, object_path, voice_fingerprint
from vocelio.gateway.storage.interfaces import ObjectNotFound, Storage
from vocelio.gateway.store import render_queue
from vocelio.gateway.store.db.database import Database

LOG = logging.getLogger(__name__)

MAX_BYTES = 64_000_000  # two hours and a quarter of speech; the least recently used makes room
READ_CONCURRENCY = 16  # objects at once: S3 takes 50 ms for one, and a flow has 30
LOAD_TIMEOUT_SECONDS = 10.0  # for the prompts of a call: later they would come too late
NEGATIVE_TTL_SECONDS = 10.0  # so that not every call looks up what is not rendered
MAX_NEGATIVE_ENTRIES = 100_000
UNAVAILABLE_PAUSE_SECONDS = 5.0  # without requests after the storage has failed

CacheKey = tuple[str, str]
"""A tenant, and the key of a sentence."""


class PromptCache:
    """The sentences of all tenants, at most ``max_bytes`` of them in memory.

    Loading a call's sentences takes at most ``load_timeout_seconds``; a sentence that is not rendered is looked up
    again after ``negative_ttl_seconds``.
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
        self._fetch_tasks: dict[CacheKey, asyncio.Task[None]] = {}  # one per key, running or waiting for a read slot
        self._read_slots = asyncio.Semaphore(READ_CONCURRENCY)
        self._unavailable_until = 0.0

    def get(self, tenant: str, voice: Voice, sentence: str) -> bytes | None:
        """Return the mu-law audio of a sentence (see ``split_sentences``) in a voice, if it is in memory."""
        return self._cached.get((tenant, cache_key(voice_fingerprint(voice), sentence)))

    async def load_keys(self, tenant: str, keys: Sequence[str]) -> None:
        """Load the rendered ones of these sentences into memory, the first before the last. Never raises a store error.

        They fill at most half of the memory, so that one flow does not evict all others.
        """
        missing = [key for key in keys if self._needs_fetch(tenant, key)]
        if not missing or _now() < self._unavailable_until:
            return
        try:
            async with asyncio.timeout(self._load_timeout_seconds):
                sizes = await render_queue.get_ready_sizes(self._database, tenant, missing)
                self._negative.update({(tenant, key): True for key in missing if key not in sizes})
                still_missing = [key for key in missing if key in sizes and (tenant, key) not in self._cached]
                fitting = self._select_fitting(still_missing, sizes)
                if tasks := [self._start_fetch(tenant, key, sizes[key]) for key in fitting]:
                    await asyncio.wait(tasks)
        except (DatabaseUnavailable, TimeoutError):
            LOG.warning("tenant %s: rendered prompts were not loaded in time; they are synthesized", tenant)

    async def put(self, tenant: str, key: str, mulaw: bytes) -> None:
        """Store a sentence that has just been rendered. Raises StorageUnavailable."""
        await self.storage.put(object_path(tenant, key), mulaw)
        self._cache_audio(tenant, key, mulaw)

    async def aclose(self) -> None:
        """Cancel all reads in progress."""
        tasks = list(self._fetch_tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _needs_fetch(self, tenant: str, key: str) -> bool:
        """Whether the storage has to be read; a key in memory counts as used now."""
        return self._cached.get((tenant, key)) is None and (tenant, key) not in self._negative

    def _select_fitting(self, keys: Sequence[str], sizes: dict[str, int]) -> list[str]:
        free_bytes, fitting = self._cached.maxsize // 2, []
        for key in keys:
            free_bytes -= sizes[key]
            if free_bytes < 0:
                break
            fitting.append(key)
        return fitting

    def _start_fetch(self, tenant: str, key_digest: str, size: int) -> asyncio.Task[None]:
        key = (tenant, key_digest)
        if key not in self._fetch_tasks:
            task = asyncio.create_task(self._fetch(tenant, key_digest, size), name=f"prompt {key_digest}")
            self._fetch_tasks[key] = task
            task.add_done_callback(lambda _: self._fetch_tasks.pop(key))
        return self._fetch_tasks[key]

    async def _fetch(self, tenant: str, key: str, size: int) -> None:
        """Raises nothing: a sentence that cannot be read is synthesized."""
        async with self._read_slots:
            if _now() < self._unavailable_until:
                return
            try:
                self._cache_audio(tenant, key, await self.storage.get(object_path(tenant, key), 0, size))
            except ObjectNotFound:
                await self._on_missing(tenant, key)
            except DatabaseUnavailable:  # the storage has logged the reason
                self._unavailable_until = _now() + UNAVAILABLE_PAUSE_SECONDS
            except Exception:
                LOG.exception("tenant %s: prompt %s could not be read; it is synthesized", tenant, key)

    async def _on_missing(self, tenant: str, key: str) -> None:
        """Requeue a prompt whose object has been deleted from the storage."""
        LOG.warning("tenant %s: prompt %s is missing from the storage; it is rendered again", tenant, key)
        self._negative[(tenant, key)] = True
        try:
            await render_queue.requeue_missing(self._database, tenant, key, self._wall())
        except DatabaseUnavailable:
            LOG.warning("database unavailable: tenant %s: missing prompt %s was not requeued", tenant, key)

    def _cache_audio(self, tenant: str, key: str, mulaw: bytes) -> None:
        self._negative.pop((tenant, key), None)
        if len(mulaw) <= self._cached.maxsize:
            self._cached[(tenant, key)] = mulaw


def _now() -> float:
    return asyncio.get_running_loop().time()


class PreloadingPromptCache:
    """The prompt cache together with the manifests that say what a call needs of it."""

    def __init__(self, cache: PromptCache, manifests: PromptManifests) -> None:
        self.cache, self.manifests = cache, manifests

    def get(self, tenant: str, voice: Voice, sentence: str) -> bytes | None:
        """Return the mu-law audio of a sentence in the voice that would speak it now, if it is in memory."""
        return self.cache.get(tenant, voice, sentence)

    async def preload(self, tenant: Tenant, version: FlowVersion) -> None:
        """Load the prompts of a version when a call starts. Never raises a store error; takes at most ten seconds."""
        manifest = await self.manifests.get_manifest(tenant, version)
        await self.cache.load_keys(tenant.id, [prompt.id for prompt in manifest.prompts])
