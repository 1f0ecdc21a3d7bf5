"""Prompt manifest: the sentences and voices that must be rendered for a flow version, with their cache keys.

Keys are content-addressed: equal audio is rendered once, and different audio never shares a key. Computing a manifest
takes milliseconds, at worst a second, and every call of the version needs it, so it is cached and computed in a
thread. It depends on the version and on the tenant's settings that prompts contain.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from hashlib import sha256
from typing import Any, NamedTuple, Protocol

from cachetools import LRUCache

from vocelio.engine.call_info import TenantInfo
from vocelio.engine.flow import FlowVersion
from vocelio.engine.prompts.static_prompts import StaticPrompt, static_prompts
from vocelio.engine.voice import Tier, Voice
from vocelio.gateway.aio.tasks import CPU_EXECUTOR
from vocelio.gateway.model.tenant import Tenant
from vocelio.gateway.speech.elevenlabs.synthesizer import FLASH_MODEL
from vocelio.gateway.store import render_queue
from vocelio.gateway.store.db.database import Database
from vocelio.gateway.store.flows import versions
from vocelio.gateway.store.render_queue import PromptRef
from vocelio.gateway.store.tenants import tenants

MAX_CACHED_SENTENCES = 100_000  # sentences of all manifests in memory, with 300 bytes each

AUDIO_FORMAT_VERSION = "1"
"""Of the audio: mu-law, 8,000 samples a second. Another version makes everything be rendered again."""

MODEL_SALT: Mapping[Tier, str] = {"elevenlabs": FLASH_MODEL}
"""Provider settings that change the audio and are not part of the flow's voice."""

RunOffLoop = Callable[[Callable[[], list[StaticPrompt]]], Awaitable[list[StaticPrompt]]]

VoiceResolver = Callable[[Voice], Voice | None]
"""Returns the voice in which a flow's voice is rendered: itself, or its permanent substitute where its tier is not
configured. None: it cannot be rendered at present. It is called on the event loop, often, and must be quick."""


class SentenceSynthesizer(Protocol):
    """Synthesizes one sentence of a tenant."""

    async def __call__(self, tenant: str, sentence: str, voice: Voice) -> bytes:
        """Return all of its audio: mu-law, 8,000 bytes a second. Raises SpeechError."""
        ...


class PromptManifest(NamedTuple):
    """What to render; ``voices`` maps each voice of the flow to the one that is rendered for it."""

    prompts: tuple[PromptRef, ...]
    voices: Mapping[Voice, Voice | None]


class ActiveManifest(NamedTuple):
    """The manifest of a flow's active version."""

    version: int
    manifest: PromptManifest


class PromptManifests:
    """Computes and caches the manifests of all tenants."""

    def __init__(self, resolve_voice: VoiceResolver, max_cached_sentences: int = MAX_CACHED_SENTENCES) -> None:
        self.resolve_voice = resolve_voice
        self._cache: LRUCache[Any, PromptManifest] = LRUCache(
            max_cached_sentences, getsizeof=lambda manifest: len(manifest.prompts) + 1
        )

    async def get_manifest(
        self, tenant: Tenant, version: FlowVersion, run_off_loop: RunOffLoop = asyncio.to_thread
    ) -> PromptManifest:
        """Return the manifest of a version. Calls have it computed in a thread of their own."""
        cached = self._cached_manifest(tenant, version.id)
        if cached is not None:
            return cached
        spoken = await run_off_loop(lambda: static_prompts(version, _tenant_info(tenant), [tenant.hold_message]))
        manifest = self._build_manifest(spoken)
        if len(manifest.prompts) < self._cache.maxsize:
            self._cache[_manifest_key(tenant, version.id)] = manifest
        return manifest

    async def get_active_manifest(self, database: Database, tenant_id: str, flow: str) -> ActiveManifest | None:
        """Return the manifest of a flow's active version; None if the flow was never promoted.

        Raises NotFound, UnusableVersion, RateLimited, DatabaseUnavailable.
        """
        async with database.read() as connection:
            active = await render_queue.get_active_version(connection, tenant_id, flow)
            if active is None:
                return None
            number, content_hash = active
            tenant = await tenants.load_tenant(connection, tenant_id)
            manifest = self._cached_manifest(tenant, content_hash)
            version = None if manifest else await versions.load_version(connection, tenant_id, flow, number)
        if version is not None:
            manifest = await self.get_manifest(tenant, version, CPU_EXECUTOR.run)
        return ActiveManifest(number, manifest) if manifest else None

    def is_current(self, voices: Mapping[Voice, Voice | None]) -> bool:
        """Whether these voices are still rendered in the same voices."""
        return all(self.resolve_voice(voice) == rendered for voice, rendered in voices.items())

    def _cached_manifest(self, tenant: Tenant, content_hash: str) -> PromptManifest | None:
        cached = self._cache.get(_manifest_key(tenant, content_hash))
        return cached if cached is not None and self.is_current(cached.voices) else None

    def _build_manifest(self, static_prompts: Iterable[StaticPrompt]) -> PromptManifest:
        static_prompts = list(static_prompts)
        voices = {voice: self.resolve_voice(voice) for voice in dict.fromkeys(each.voice for each in static_prompts)}
        rendered_voices = {voice: rendered or voice for voice, rendered in voices.items()}
        fingerprints = {voice: voice_fingerprint(rendered) for voice, rendered in rendered_voices.items()}
        prompts: dict[str, PromptRef] = {}
        for sentence, voice in static_prompts:
            key = cache_key(fingerprints[voice], sentence)
            prompts.setdefault(key, PromptRef(key, sentence, rendered_voices[voice]))
        return PromptManifest(tuple(prompts.values()), voices)


def voice_fingerprint(voice: Voice) -> str:
    """Return the properties of a voice that change its audio: ``azure/en-US-AvaNeural/en-US/1.0/``.

    ``fallbacks`` are not among them.
    """
    salt = MODEL_SALT.get(voice.tier, "")
    return f"{voice.tier}/{voice.name}/{voice.language}/{float(voice.speed)}/{voice.style}/{salt}"


def cache_key(fingerprint: str, sentence: str) -> str:
    """Return the key of a sentence in a voice: 64 hexadecimal digits."""
    return sha256(f"{AUDIO_FORMAT_VERSION}\0{fingerprint}\0{sentence}".encode()).hexdigest()


def object_path(tenant: str, key: str) -> str:
    """Return the path of a sentence's audio in the storage."""
    return f"prompts/{tenant}/{key}.ulaw"


def _tenant_info(tenant: Tenant) -> TenantInfo:
    return TenantInfo(tenant.id, tenant.name, tenant.variables, tenant.time_zone, tenant.error_message)


def _manifest_key(tenant: Tenant, content_hash: str) -> Any:
    spoken_settings = (tenant.name, frozenset(tenant.variables.items()), tenant.error_message, tenant.hold_message)
    return tenant.id, content_hash, spoken_settings
