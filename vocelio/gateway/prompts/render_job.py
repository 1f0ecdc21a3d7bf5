"""One sentence rendered: spoken, kept, entered as ready; or what is to become of it when that fails.

What was spoken is paid for. So while the storage or the database does not take it, it is held, and nothing else of the
kind is made: only the keeping is tried again.
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
from vocelio.gateway.store.db.database import Database
from vocelio.gateway.store.prompts import render_queue
from vocelio.gateway.store.prompts.render_queue import RenderTask

LOG = logging.getLogger(__name__)

SYNTHESIS_TIMEOUT_SECONDS = 40.0  # for one sentence: services make a sentence in one or two
BACKOFF = Backoff(initial_seconds=10, max_seconds=3_600)  # between attempts: nine in the first hour
TIER_PAUSE_SECONDS = 60  # until a tier that nobody renders, or whose key was refused, is tried again
SUBSTITUTED_VOICE_DELAY_SECONDS = (
    3_600  # what is spoken in another voice now is not wanted any more: soon it is collected
)
MAX_UNSAVED = 32  # sentences held while they cannot be kept

MICROSECONDS_PER_SECOND = 1_000_000  # microseconds
INTERNAL_ERROR_MESSAGE = "Internal error; see the gateway's log."


class PromptRenderer:
    """``paused`` has the tiers that are to be left alone, each until when (microseconds UTC)."""

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
        self._storage_unavailable = False  # the storage, when it was last asked
        self._unsaved: LRUCache[tuple[str, str], bytes] = LRUCache(MAX_UNSAVED)

    def paused_tiers(self) -> list[str]:
        """The tiers that nothing is to be rendered of at present."""
        now = self._wall()
        return [tier for tier, until in self._paused_until.items() if until > now]

    async def render(self, task: RenderTask) -> None:
        """Render a sentence. Raises StoreUnavailable: then it is done again when the claim ends, but not spoken."""
        voice = self._resolve_voice(task.voice)
        if voice is None:
            self._pause_tier(task)
            await render_queue.release(self._database, task)
        elif voice_fingerprint(voice) != voice_fingerprint(task.voice):
            await render_queue.release(
                self._database, task, self._wall() + SUBSTITUTED_VOICE_DELAY_SECONDS * MICROSECONDS_PER_SECOND
            )
        else:
            await self._render(task)

    async def _render(self, task: RenderTask) -> None:
        key = (task.tenant, task.id)
        if self._storage_unavailable and key not in self._unsaved:
            await self._retry_upload(task)
        sound = self._unsaved.get(key) or await self._try_synthesize(task)
        if not sound:
            return
        self._unsaved[key] = sound
        try:
            await self._save(*key, sound)
        except StorageUnavailable as error:
            await self._record_failure(task, f"The audio could not be stored. {error}")
            raise
        await render_queue.finish(self._database, task, len(sound), self._wall())
        self._unsaved.pop(key, None)

    async def _save(self, tenant: str, key: str, audio: bytes) -> None:
        try:
            await self._cache.put(tenant, key, audio)
        except StorageUnavailable:
            self._storage_unavailable = True
            raise
        self._storage_unavailable = False

    async def _retry_upload(self, task: RenderTask) -> None:
        """Nothing more is spoken before what was spoken can be kept. Raises StorageUnavailable."""
        for (tenant, one), sound in list(self._unsaved.items())[:1]:
            try:
                await self._save(tenant, one, sound)
            except StorageUnavailable:
                await render_queue.release(self._database, task)
                raise

    async def _try_synthesize(self, task: RenderTask) -> bytes:
        """Its sound; empty when there is none, which the row says then."""
        try:
            async with asyncio.timeout(SYNTHESIS_TIMEOUT_SECONDS):
                sound = await self._synthesize(task.sentence, task.voice)
        except TimeoutError:
            problem = f"Synthesis took more than {SYNTHESIS_TIMEOUT_SECONDS:.0f} seconds."
        except SpeechError as error:
            problem = str(error)
            if isinstance(error, AuthenticationFailed):
                self._pause_tier(task)
        except Exception:
            LOG.exception("the prompt %s of %s failed", task.id, task.tenant)
            problem = INTERNAL_ERROR_MESSAGE
        else:
            if sound:
                return sound
            problem = "The provider returned no audio."
        await self._record_failure(task, problem)
        return b""

    async def _record_failure(self, task: RenderTask, error: str) -> None:
        LOG.warning("a prompt of %s is not rendered: %s", task.tenant, error)
        due = self._wall() + round(BACKOFF.delay_seconds(task.attempts + 1) * MICROSECONDS_PER_SECOND)
        await render_queue.fail(self._database, task, error, due)

    def _pause_tier(self, task: RenderTask) -> None:
        self._paused_until[task.voice.tier] = self._wall() + TIER_PAUSE_SECONDS * MICROSECONDS_PER_SECOND
