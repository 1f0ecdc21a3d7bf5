"""What is to be there for a version of a flow: its sentences in the voices that they are rendered in.

It takes milliseconds to work out, at worst a second, and every call of the version needs it: so it is remembered, and
worked out in a thread. It is another when the version is, or what the tenant says of itself.

What rendering needs of others.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, NamedTuple, Protocol

from cachetools import LRUCache

from vocelio.engine.call_info import TenantInfo
from vocelio.engine.flow import FlowVersion
from vocelio.engine.prompts.static_prompts import StaticPrompt, static_prompts
from vocelio.engine.voice import Voice
from vocelio.gateway.aio.cpu_executor import CPU_EXECUTOR
from vocelio.gateway.model.tenant import Tenant
from vocelio.gateway.prompts.keys import cache_key, voice_fingerprint
from vocelio.gateway.store.db.database import Database
from vocelio.gateway.store.flows import versions
from vocelio.gateway.store.prompts import render_queue
from vocelio.gateway.store.prompts.render_queue import PromptRef
from vocelio.gateway.store.tenants import tenants

MAX_CACHED_SENTENCES = 100_000  # sentences of all plans in memory, with 300 bytes each

RunOffLoop = Callable[[Callable[[], list[StaticPrompt]]], Awaitable[list[StaticPrompt]]]


VoiceResolver = Callable[[Voice], Voice | None]
"""In which voice a flow's is rendered: itself, or the one that speaks in its place where its tier cannot be had for
good. None: there is nobody to render it at present. It is asked on the event loop, often, and must be quick."""


class SentenceSynthesizer(Protocol):
    """One sentence, spoken."""

    async def __call__(self, sentence: str, voice: Voice) -> bytes:
        """Its sound, whole: mu-law, 8,000 bytes a second. Raises SpeechError."""
        ...


class PromptManifest(NamedTuple):
    """``voices`` are those of the flow, each with the one that is rendered for it."""

    prompts: tuple[PromptRef, ...]
    voices: Mapping[Voice, Voice | None]


class ActiveManifest(NamedTuple):
    """The plan of the version that calls get."""

    version: int
    manifest: PromptManifest


class PromptManifests:
    """The plans of all tenants."""

    def __init__(self, resolve_voice: VoiceResolver, max_cached_sentences: int = MAX_CACHED_SENTENCES) -> None:
        self.resolve_voice = resolve_voice
        self._cache: LRUCache[Any, PromptManifest] = LRUCache(
            max_cached_sentences, getsizeof=lambda plan: len(plan.prompts) + 1
        )

    async def get_manifest(
        self, tenant: Tenant, version: FlowVersion, run_off_loop: RunOffLoop = asyncio.to_thread
    ) -> PromptManifest:
        """The plan of a version; calls get it in a thread of their own."""
        held = self._cached_manifest(tenant, version.id)
        if held is not None:
            return held
        spoken = await run_off_loop(lambda: static_prompts(version, _tenant_info(tenant), [tenant.hold]))
        plan = self._build_manifest(spoken)
        if len(plan.prompts) < self._cache.maxsize:
            self._cache[_manifest_key(tenant, version.id)] = plan
        return plan

    async def get_active_manifest(self, database: Database, tenant: str, flow: str) -> ActiveManifest | None:
        """The plan of a flow's active version; None when it was never promoted.

        Raises NotFound, UnusableVersion, TooMany, StoreUnavailable.
        """
        async with database.read() as connection:
            found = await render_queue.get_active_version(connection, tenant, flow)
            if found is None:
                return None
            number, content = found
            whose, _ = await tenants.load_tenant(connection, tenant)
            plan = self._cached_manifest(whose, content)
            version = None if plan else await versions.load_version(connection, tenant, flow, number)
        if version is not None:
            plan = await self.get_manifest(whose, version, CPU_EXECUTOR.run)
        return ActiveManifest(number, plan) if plan else None

    def is_current(self, voices: Mapping[Voice, Voice | None]) -> bool:
        """Whether these are still rendered in the same voices."""
        return all(self.resolve_voice(voice) == rendered for voice, rendered in voices.items())

    def _cached_manifest(self, tenant: Tenant, content: str) -> PromptManifest | None:
        held = self._cache.get(_manifest_key(tenant, content))
        return held if held is not None and self.is_current(held.voices) else None

    def _build_manifest(self, static_prompts: Iterable[StaticPrompt]) -> PromptManifest:
        static_prompts = list(static_prompts)
        voices = {voice: self.resolve_voice(voice) for voice in dict.fromkeys(one.voice for one in static_prompts)}
        heard = {voice: rendered or voice for voice, rendered in voices.items()}
        prints = {voice: voice_fingerprint(other) for voice, other in heard.items()}
        wanted: dict[str, PromptRef] = {}
        for sentence, voice in static_prompts:
            one = cache_key(prints[voice], sentence)
            wanted.setdefault(one, PromptRef(one, sentence, heard[voice]))
        return PromptManifest(tuple(wanted.values()), voices)


def _tenant_info(tenant: Tenant) -> TenantInfo:
    return TenantInfo(tenant.id, tenant.name, tenant.variables, tenant.time_zone, tenant.apology)


def _manifest_key(tenant: Tenant, content: str) -> Any:
    said = (tenant.name, frozenset(tenant.variables.items()), tenant.apology, tenant.hold)
    return tenant.id, content, said
