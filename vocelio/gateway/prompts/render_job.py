"""Render one leased sentence: synthesize it, store the audio, and mark it ready, or record the failure.

Synthesis is paid for. So audio that the storage or the database did not accept is kept in memory, and nothing more is
synthesized until it has been stored.
"""

import asyncio
import logging

from cachetools import LRUCache

from vocelio.gateway.aio.backoff import Backoff
from vocelio.gateway.clock import WallClock
from vocelio.gateway.errors import StorageUnavailable
from vocelio.gateway.prompts.cache import PromptCache
from vocelio.gateway.prompts.manifest import SentenceSynthesizer, VoiceResolver, voice_fingerprint
from vocelio.gateway.speech.interfaces import AuthenticationFailed, SpeechError
from vocelio.gateway.store import render_queue
from vocelio.gateway.store.db.database import Database
from vocelio.gateway.store.render_queue import RenderTask

LOG = logging.getLogger(__name__)

SYNTHESIS_TIMEOUT_SECONDS = 40.0  # for one sentence; providers take one or two
BACKOFF = Backoff(initial_seconds=10, max_seconds=3_600)  # between attempts: nine in the first hour
TIER_PAUSE_SECONDS = 60  # until a tier without a provider, or with a rejected API key, is tried again
SUBSTITUTED_VOICE_DELAY_SECONDS = 3_600  # such a sentence is no longer needed and soon deleted as garbage
MAX_UNSAVED = 32  # sentences kept in memory while they cannot be stored

MICROSECONDS_PER_SECOND = 1_000_000
INTERNAL_ERROR_MESSAGE = "Internal error; see the gateway's log."


class PromptRenderer:
    """Renders sentences. Tiers without a usable provider are paused, each until an instant (microseconds UTC)."""

    def __init__(
        self,
        database: Database,
        cache: PromptCache,
        resolve_voice: VoiceResolver,
        synthesize: SentenceSynthesizer,
        wall: WallClock,
    ) -> None:
        self._database, self._cache, self._wall = database, cache, wall
        self._resolve_voice, self._synthesize = resolve_voice, synthesize
        self._paused_until: dict[str, int] = {}
        self._storage_unavailable = False  # when it was last used
        self._unsaved: LRUCache[tuple[str, str], bytes] = LRUCache(MAX_UNSAVED)

    def paused_tiers(self) -> list[str]:
        """Return the tiers of which nothing is to be rendered at present."""
        now = self._wall()
        return [tier for tier, until in self._paused_until.items() if until > now]

    async def render(self, task: RenderTask) -> None:
        """Render a leased sentence.

        Raises DatabaseUnavailable; the sentence is then retried when its lease ends, without being synthesized again.
        """
        voice = self._resolve_voice(task.voice)
        if voice is None:
            self._pause_tier(task)
            await render_queue.release(self._database, task)
        elif voice_fingerprint(voice) != voice_fingerprint(task.voice):
            due_at = self._wall() + SUBSTITUTED_VOICE_DELAY_SECONDS * MICROSECONDS_PER_SECOND
            await render_queue.release(self._database, task, due_at)
        else:
            await self._render(task)

    async def _render(self, task: RenderTask) -> None:
        key = (task.tenant, task.id)
        if self._storage_unavailable and key not in self._unsaved:
            await self._retry_upload(task)
        audio = self._unsaved.get(key) or await self._try_synthesize(task)
        if not audio:
            return
        self._unsaved[key] = audio
        try:
            await self._save(*key, audio)
        except StorageUnavailable as error:
            await self._record_failure(task, f"The audio could not be stored. {error}")
            raise
        await render_queue.finish(self._database, task, len(audio), self._wall())
        self._unsaved.pop(key, None)

    async def _save(self, tenant: str, key: str, audio: bytes) -> None:
        try:
            await self._cache.put(tenant, key, audio)
        except StorageUnavailable:
            self._storage_unavailable = True
            raise
        self._storage_unavailable = False

    async def _retry_upload(self, task: RenderTask) -> None:
        """Store audio kept in memory before anything more is synthesized. Raises StorageUnavailable."""
        for (tenant, key), audio in list(self._unsaved.items())[:1]:
            try:
                await self._save(tenant, key, audio)
            except StorageUnavailable:
                await render_queue.release(self._database, task)
                raise

    async def _try_synthesize(self, task: RenderTask) -> bytes:
        """Return the audio; empty after a failure, which is recorded in the row."""
        try:
            async with asyncio.timeout(SYNTHESIS_TIMEOUT_SECONDS):
                audio = await self._synthesize(task.tenant, task.sentence, task.voice)
        except TimeoutError:
            error_text = f"Synthesis took more than {SYNTHESIS_TIMEOUT_SECONDS:.0f} seconds."
        except SpeechError as error:
            error_text = str(error)
            if isinstance(error, AuthenticationFailed):
                self._pause_tier(task)
        except Exception:
            LOG.exception("tenant %s: rendering prompt %s failed", task.tenant, task.id)
            error_text = INTERNAL_ERROR_MESSAGE
        else:
            if audio:
                return audio
            error_text = "The provider returned no audio."
        await self._record_failure(task, error_text)
        return b""

    async def _record_failure(self, task: RenderTask, error: str) -> None:
        LOG.warning("tenant %s: prompt %s was not rendered: %s; it is retried", task.tenant, task.id, error)
        await render_queue.fail(self._database, task, error, self._wall(), BACKOFF)

    def _pause_tier(self, task: RenderTask) -> None:
        self._paused_until[task.voice.tier] = self._wall() + TIER_PAUSE_SECONDS * MICROSECONDS_PER_SECOND
