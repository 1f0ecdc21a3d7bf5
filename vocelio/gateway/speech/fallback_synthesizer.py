"""Speaking with whichever voice can be had: each prompt sentence by sentence, from a shelf or from a provider.

A sentence that stands on the shelf, rendered before, costs nothing. Others are asked for one after the other, which
is ahead of their time: providers make sound faster than it is played. A provider that is behind real time by
``DEADLINE`` seconds (in its first sound, in a stall, or since it drips) has failed: the next voice begins the sentence
anew, and stays for the rest of the prompt.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Collection, Mapping
from contextlib import aclosing
from typing import NamedTuple, Protocol

import msgspec

from vocelio.codecs.mulaw import SAMPLE_RATE, SILENCE_BYTE
from vocelio.engine.prompts.sentences import split_sentences
from vocelio.engine.voice import Tier, Voice
from vocelio.gateway.speech.circuit_breaker import CircuitBreaker, ProviderTimeout, ServiceStatus, start_providers
from vocelio.gateway.speech.interfaces import (
    AuthenticationFailed,
    FirstAudio,
    ProviderFailure,
    RequestNotSupported,
    SpeechError,
    SpeechEventCallback,
    SynthesisUsage,
    Synthesizer,
)

LOG = logging.getLogger(__name__)

SECONDS_PER_CHARACTER = 0.06  # of ordinary speech: a sentence of which so much has sounded has been said
SECONDS_PER_DIGIT = 0.5
MAX_RENDER_LAG_SECONDS = 5.0  # that rendering, for which nobody waits, may be behind
MAX_LAG_SECONDS = (
    1.2  # seconds: three providers one after the other stay below the 4 s that nobody waits on a telephone
)
FALLBACK_ORDER: Mapping[Tier, tuple[Tier, ...]] = {
    "elevenlabs": ("elevenlabs", "azure", "local"),
    "azure": ("azure", "local"),
    "local": ("local",),
}
DEFAULT_VOICES: Mapping[Tier, str] = {"azure": "en-US-AvaMultilingualNeural", "elevenlabs": "EXAVITQu4vr4xnSDxMaL"}
PROBE_TEXT = "Hello."
SENTENCE_PAUSE = bytes([SILENCE_BYTE]) * (SAMPLE_RATE // 5)  # between two sentences: services are told to leave none


class PromptLookup(Protocol):
    """Where sentences stand that were rendered before."""

    def get(self, tenant: str, voice: Voice, sentence: str) -> bytes | None:
        """Its mu-law sound, if that is at hand. Never waits."""
        ...


class EmptyPromptLookup:
    """Nothing was rendered."""

    def get(self, tenant: str, voice: Voice, sentence: str) -> bytes | None:
        """See Shelf."""
        return None


def fallback_voices(voice: Voice, configured: Collection[Tier]) -> list[Voice]:
    """The voices to speak with, best first, of the tiers that are ``configured``; at least one is."""
    own = {**{one.tier: one for one in voice.fallbacks}, voice.tier: voice}
    tiers: list[Tier] = [tier for tier in FALLBACK_ORDER[voice.tier] if tier in configured] or list(configured)
    return [own.get(tier) or _default_voice(tier, voice) for tier in tiers]


def _default_voice(tier: Tier, voice: Voice) -> Voice:
    """The plain voice of another tier, for one that names none there."""
    name = voice.language.lower() if tier == "local" else DEFAULT_VOICES[tier]
    return msgspec.structs.replace(voice, tier=tier, name=name, fallbacks=())


class _Provider(NamedTuple):
    synthesizer: Synthesizer
    breaker: CircuitBreaker


class FallbackSynthesizer:
    """The voices of a process. ``synthesizers`` are those that are configured; there is at least one."""

    def __init__(self, synthesizers: Mapping[Tier, Synthesizer], prompt_cache: PromptLookup | None = None) -> None:
        self._prompt_cache = prompt_cache or EmptyPromptLookup()
        self._last_working_voices: dict[Tier, Voice] = {}  # the newest voice of each that spoke, for probes
        self._providers: dict[Tier, _Provider] = {
            tier: _Provider(synthesizer, CircuitBreaker(tier, "synthesis", lambda tier=tier: self._probe(tier)))  # type: ignore[misc]
            for tier, synthesizer in synthesizers.items()
        }

    def get_cached(self, tenant: str, text: str, voice: Voice) -> tuple[Tier, bytes] | None:
        """Whose voice it is and the whole sound of the text, if all of it stands on the shelf."""
        first = fallback_voices(voice, self._providers)[0]
        sounds = [self._prompt_cache.get(tenant, first, sentence) for sentence in split_sentences(text)]
        if not sounds or None in sounds:
            return None
        return first.tier, SENTENCE_PAUSE.join(sound for sound in sounds if sound)

    async def speak(
        self, tenant: str, text: str, voice: Voice, on_event: SpeechEventCallback, slow_tiers: Collection[Tier] = ()
    ) -> AsyncGenerator[bytes, None]:
        """Mu-law sound, as it is made. Raises SpeechError when no voice can be had any more.

        Providers that were ``late`` in the caller's present turn are not waited for again, if there is another.
        """
        every = fallback_voices(voice, self._providers)
        left = [one for one in every if one.tier not in slow_tiers] or every
        speaking: Tier | None = None
        for sentence in split_sentences(text):
            if speaking:
                yield SENTENCE_PAUSE
            if sound := self._prompt_cache.get(tenant, left[0], sentence):
                if left[0].tier != speaking:
                    on_event(FirstAudio(left[0].tier))
                    speaking = left[0].tier
                yield sound
                continue
            async with aclosing(self._speak_sentence(sentence, left, on_event)) as sounds:
                async for tier, chunk in sounds:
                    if tier != speaking:
                        on_event(FirstAudio(tier))
                        speaking = tier
                    yield chunk

    async def start(self) -> None:
        """See ``start_all``."""
        await start_providers({tier: (mouth.synthesizer, mouth.breaker) for tier, mouth in self._providers.items()})

    async def aclose(self) -> None:
        """Leave nothing behind."""
        await asyncio.gather(*(mouth.breaker.aclose() for mouth in self._providers.values()))
        await asyncio.gather(*(mouth.synthesizer.aclose() for mouth in self._providers.values()))

    def status(self) -> list[ServiceStatus]:
        """What is known of each provider."""
        return [mouth.breaker.status() for mouth in self._providers.values()]

    async def render(self, sentence: str, voice: Voice) -> bytes:
        """All of a sentence's sound in just that voice. Raises SpeechError."""
        mouth = self._providers.get(voice.tier)
        if mouth is None:
            raise SpeechError(f"{voice.tier} is not configured")
        if not mouth.breaker.is_closed:
            raise SpeechError(f"{voice.tier} is left alone for now")
        try:
            async with aclosing(
                _enforce_realtime(mouth.synthesizer, sentence, voice, MAX_RENDER_LAG_SECONDS)
            ) as sounds:
                return b"".join([chunk async for chunk in sounds])
        except AuthenticationFailed as error:
            mouth.breaker.record_failure(
                error
            )  # of other failures calls have their own: many renderings at once cause some
            raise

    async def _speak_sentence(
        self, sentence: str, candidates: list[Voice], on_event: SpeechEventCallback
    ) -> AsyncGenerator[tuple[Tier, bytes], None]:
        """With the first of those ``left`` that can; those that could not are taken from them."""
        problem, enough = SpeechError("no voice can be had"), _estimated_seconds(sentence) * SAMPLE_RATE
        while candidates:
            voice, sounded = candidates[0], 0
            if self._providers[voice.tier].breaker.is_closed or len(candidates) == 1:
                try:
                    async with aclosing(self._synthesize(sentence, voice, on_event)) as sounds:
                        async for chunk in sounds:
                            sounded += len(chunk)
                            yield voice.tier, chunk
                    return
                except SpeechError as error:
                    problem = error
                    on_event(ProviderFailure(voice.tier, "synthesis", str(error), isinstance(error, ProviderTimeout)))
                    if sounded >= enough / min(
                        1.0, voice.speed
                    ):  # only its end did not come: nobody wants to hear it twice
                        del candidates[: len(candidates) > 1]
                        return
            del candidates[0]
        raise problem

    async def _synthesize(
        self, sentence: str, voice: Voice, on_event: SpeechEventCallback
    ) -> AsyncGenerator[bytes, None]:
        """One provider's sound, while it keeps up; what that says of its health, and what it costs."""
        synthesizer, health = self._providers[voice.tier]
        loop = asyncio.get_running_loop()
        begun = loop.time()
        first: float | None = None
        try:
            async with aclosing(_enforce_realtime(synthesizer, sentence, voice, MAX_LAG_SECONDS)) as sounds:
                async for chunk in sounds:
                    if first is None:
                        first = loop.time() - begun
                        on_event(SynthesisUsage(voice.tier, len(sentence), first))
                    yield chunk
        except SpeechError as error:
            health.record_failure(error)
            if first is None and isinstance(error, ProviderTimeout):  # it has the text, and may well ask money for it
                on_event(SynthesisUsage(voice.tier, len(sentence), None))
            raise
        except (GeneratorExit, asyncio.CancelledError):
            if first is None:
                on_event(SynthesisUsage(voice.tier, len(sentence), None))
            else:  # nobody wants the rest: it was well as far as it went
                health.record_success(first)
            raise
        except Exception as error:
            LOG.exception("a synthesis failed")
            failure = SpeechError(f"{voice.tier}: speaking failed; the log says how")
            health.record_failure(failure)
            raise failure from error
        else:
            health.record_success(first)
            self._last_working_voices[voice.tier] = voice

    async def _probe(self, tier: Tier) -> None:
        """As a caller would, with a voice that was good before."""
        voice = self._last_working_voices.get(tier) or _default_voice(tier, Voice())
        async with aclosing(
            _enforce_realtime(self._providers[tier].synthesizer, PROBE_TEXT, voice, MAX_LAG_SECONDS)
        ) as sounds:
            async for _ in sounds:
                pass


async def _enforce_realtime(
    synthesizer: Synthesizer, sentence: str, voice: Voice, max_lag_seconds: float
) -> AsyncGenerator[bytes, None]:
    """The sound, while it is never ``deadline`` seconds behind. Raises SpeechError."""
    loop = asyncio.get_running_loop()
    waited = sounded = 0.0
    async with aclosing(synthesizer.speak(sentence, voice)) as sounds:
        while True:
            before = loop.time()
            chunk = await _next_chunk(sounds, max_lag_seconds - max(0.0, waited - sounded), voice.tier, max_lag_seconds)
            waited += loop.time() - before
            if not chunk:
                break
            sounded += len(chunk) / SAMPLE_RATE
            yield chunk
    if not sounded and any(map(str.isalnum, sentence)):
        raise RequestNotSupported(f"{voice.tier} made no sound of the text")


def _estimated_seconds(sentence: str) -> float:
    """About how many seconds it sounds, at ordinary speed: rather too many than too few."""
    return sum(SECONDS_PER_DIGIT if one.isdigit() or one in "$%" else SECONDS_PER_CHARACTER for one in sentence)


async def _next_chunk(
    chunks: AsyncGenerator[bytes, None], timeout_seconds: float, tier: Tier, max_lag_seconds: float
) -> bytes:
    """The next sound, nothing at the end. Raises Late when it does not come in time."""
    try:
        async with asyncio.timeout(timeout_seconds):
            return await anext(chunks, b"")
    except TimeoutError:
        raise ProviderTimeout(f"{tier} is {max_lag_seconds:g} s behind with its sound") from None
