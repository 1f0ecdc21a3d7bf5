"""Speech synthesis with fallback: each prompt sentence by sentence, from the prompt cache or from the best provider.

A cached sentence costs nothing. The others are requested one after another, which stays ahead of playback: providers
synthesize faster than real time. A provider that lags MAX_LAG_SECONDS behind real time (before its first audio, in a
stall, or because it drips) has failed: the next voice says the sentence again, and stays for the rest of the prompt.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Collection, Iterator, Mapping
from contextlib import aclosing, contextmanager
from types import TracebackType
from typing import NamedTuple, Protocol, Self

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

SECONDS_PER_CHARACTER = 0.06  # of ordinary speech; a sentence of which that much was heard counts as spoken
SECONDS_PER_DIGIT = 0.5
MAX_LAG_SECONDS = 1.2  # three providers in a row stay below the 4 s of silence after which callers hang up
MAX_RENDER_LAG_SECONDS = 5.0  # in pre-rendering, for which no caller waits
FALLBACK_ORDER: Mapping[Tier, tuple[Tier, ...]] = {
    "elevenlabs": ("elevenlabs", "azure", "local"),
    "azure": ("azure", "local"),
    "local": ("local",),
}
DEFAULT_VOICES: Mapping[Tier, str] = {"azure": "en-US-AvaMultilingualNeural", "elevenlabs": "EXAVITQu4vr4xnSDxMaL"}
PROBE_TEXT = "Hello."
SENTENCE_PAUSE = bytes([SILENCE_BYTE]) * (SAMPLE_RATE // 5)  # between sentences: services are asked to add none


class PromptLookup(Protocol):
    """Sentences that were rendered before."""

    def get(self, tenant: str, voice: Voice, sentence: str) -> bytes | None:
        """Return the sentence's mu-law audio if it is in memory. Never waits."""
        ...


class EmptyPromptLookup:
    """A lookup without any rendered sentences."""

    def get(self, tenant: str, voice: Voice, sentence: str) -> bytes | None:
        return None


def fallback_voices(voice: Voice, configured: Collection[Tier]) -> list[Voice]:
    """Return the voices to try, best first, of the ``configured`` tiers, of which there is at least one."""
    named = {**{fallback.tier: fallback for fallback in voice.fallbacks}, voice.tier: voice}
    tiers: list[Tier] = [tier for tier in FALLBACK_ORDER[voice.tier] if tier in configured] or list(configured)
    return [named.get(tier) or _default_voice(tier, voice) for tier in tiers]


def _default_voice(tier: Tier, voice: Voice) -> Voice:
    """Return another tier's default voice, for a voice that names no fallback there."""
    name = voice.language.lower() if tier == "local" else DEFAULT_VOICES[tier]
    return msgspec.structs.replace(voice, tier=tier, name=name, fallbacks=())


class _Provider(NamedTuple):
    synthesizer: Synthesizer
    breaker: CircuitBreaker


class FallbackSynthesizer:
    """The synthesizers of a process. ``synthesizers`` are the configured ones, at least one."""

    def __init__(self, synthesizers: Mapping[Tier, Synthesizer], prompt_cache: PromptLookup | None = None) -> None:
        self._prompt_cache = prompt_cache or EmptyPromptLookup()
        self._last_working_voices: dict[Tier, Voice] = {}  # for probes
        self._providers: dict[Tier, _Provider] = {
            tier: _Provider(synthesizer, CircuitBreaker(tier, "synthesis", lambda tier=tier: self._probe(tier)))  # type: ignore[misc]
            for tier, synthesizer in synthesizers.items()
        }

    async def start(self) -> None:
        """Start all providers. Raises SpeechError if local speech is the only one and fails."""
        await start_providers(
            {tier: (provider.synthesizer, provider.breaker) for tier, provider in self._providers.items()}
        )

    async def aclose(self) -> None:
        await asyncio.gather(*(provider.breaker.aclose() for provider in self._providers.values()))
        await asyncio.gather(*(provider.synthesizer.aclose() for provider in self._providers.values()))

    def status(self) -> list[ServiceStatus]:
        """Return the state and statistics of each provider."""
        return [provider.breaker.status() for provider in self._providers.values()]

    def get_cached(self, tenant: str, text: str, voice: Voice) -> tuple[Tier, bytes] | None:
        """Return the tier of the voice and the audio of the whole text, if all of its sentences are cached."""
        best = fallback_voices(voice, self._providers)[0]
        sentences = [self._prompt_cache.get(tenant, best, sentence) for sentence in split_sentences(text)]
        if not sentences or None in sentences:
            return None
        return best.tier, SENTENCE_PAUSE.join(audio for audio in sentences if audio)

    async def render(self, tenant: str, sentence: str, voice: Voice) -> bytes:
        """Synthesize a tenant's sentence in exactly this voice, without fallback. Raises SpeechError."""
        provider = self._providers.get(voice.tier)
        if provider is None:
            raise SpeechError(f"{voice.tier} is not configured")
        if not provider.breaker.is_closed:
            raise SpeechError(f"{voice.tier} is not used for now: its circuit breaker is open")
        try:
            async with _SentenceStream(provider.synthesizer, sentence, voice, tenant, MAX_RENDER_LAG_SECONDS) as stream:
                return b"".join([chunk async for chunk in stream])
        except AuthenticationFailed as error:
            # No other failure counts: rendering many sentences at once causes some that calls would not see.
            provider.breaker.record_failure(error)
            raise

    async def speak(
        self, tenant: str, text: str, voice: Voice, on_event: SpeechEventCallback, slow_tiers: Collection[Tier] = ()
    ) -> AsyncGenerator[bytes, None]:
        """Yield mu-law audio as it is synthesized. Raises SpeechError when every voice has failed.

        ``slow_tiers`` have timed out in the caller's current turn: they are not waited for again if there is another.
        """
        voices = fallback_voices(voice, self._providers)
        candidates = [candidate for candidate in voices if candidate.tier not in slow_tiers] or voices
        speaking: Tier | None = None
        for sentence in split_sentences(text):
            if speaking:
                yield SENTENCE_PAUSE
            if audio := self._prompt_cache.get(tenant, candidates[0], sentence):
                if candidates[0].tier != speaking:
                    on_event(FirstAudio(candidates[0].tier))
                    speaking = candidates[0].tier
                yield audio
                continue
            async with aclosing(self._speak_sentence(tenant, sentence, candidates, on_event)) as chunks:
                async for tier, chunk in chunks:
                    if tier != speaking:
                        on_event(FirstAudio(tier))
                        speaking = tier
                    yield chunk

    async def _speak_sentence(
        self, tenant: str, sentence: str, candidates: list[Voice], on_event: SpeechEventCallback
    ) -> AsyncGenerator[tuple[Tier, bytes], None]:
        """Yield the audio of the first candidate that succeeds; remove from ``candidates`` those that failed."""
        last_error = SpeechError("no voice is available")
        while candidates:
            voice = candidates[0]
            provider = self._providers[voice.tier]
            if provider.breaker.is_closed or len(candidates) == 1:
                stream = _SentenceStream(provider.synthesizer, sentence, voice, tenant, MAX_LAG_SECONDS)
                try:
                    with self._record_outcome(stream, on_event):
                        async with stream:
                            async for chunk in stream:
                                if stream.audio_bytes == len(chunk):  # the first one
                                    on_event(SynthesisUsage(voice.tier, len(sentence), stream.first_audio_seconds))
                                yield voice.tier, chunk
                    return
                except SpeechError as error:
                    last_error = error
                    on_event(ProviderFailure(voice.tier, "synthesis", str(error), isinstance(error, ProviderTimeout)))
                    if stream.audio_bytes >= _estimated_seconds(sentence) * SAMPLE_RATE / min(1.0, voice.speed):
                        # Only the end is missing: saying the sentence twice would be worse.
                        del candidates[: len(candidates) > 1]
                        return
            del candidates[0]
        raise last_error

    @contextmanager
    def _record_outcome(self, stream: "_SentenceStream", on_event: SpeechEventCallback) -> Iterator[None]:
        """Report a synthesis to its provider's circuit breaker, and its cost to the call."""
        tier, breaker = stream.voice.tier, self._providers[stream.voice.tier].breaker
        usage_without_audio = SynthesisUsage(tier, len(stream.sentence), None)
        try:
            yield
        except SpeechError as error:
            breaker.record_failure(error)
            if stream.first_audio_seconds is None and isinstance(error, ProviderTimeout):
                on_event(usage_without_audio)  # the provider has the text and may charge for it
            raise
        except (GeneratorExit, asyncio.CancelledError):  # the rest is not needed: a success as far as it went
            if stream.first_audio_seconds is None:
                on_event(usage_without_audio)
            else:
                breaker.record_success(stream.first_audio_seconds)
            raise
        except Exception as error:
            LOG.exception("synthesis by %s failed unexpectedly; the next voice takes over", tier)
            failure = SpeechError(f"{tier}: synthesis failed; the log has the details")
            breaker.record_failure(failure)
            raise failure from error
        else:
            breaker.record_success(stream.first_audio_seconds)
            self._last_working_voices[tier] = stream.voice

    async def _probe(self, tier: Tier) -> None:
        """Synthesize as a call would, with the voice that worked last."""
        voice = self._last_working_voices.get(tier) or _default_voice(tier, Voice())
        synthesizer = self._providers[tier].synthesizer
        async with _SentenceStream(synthesizer, PROBE_TEXT, voice, "", MAX_LAG_SECONDS) as stream:
            async for _ in stream:
                pass


class _SentenceStream:
    """The audio of one sentence from one provider, which must keep up with real time.

    An async iterator and context manager. It waits for the provider no longer than ``max_lag_seconds`` beyond the
    duration of the audio it got; the time that the consumer takes does not count. Raises SpeechError.
    """

    def __init__(
        self, synthesizer: Synthesizer, sentence: str, voice: Voice, tenant: str, max_lag_seconds: float
    ) -> None:
        self.sentence, self.voice, self._tenant = sentence, voice, tenant
        self.audio_bytes = 0
        self.first_audio_seconds: float | None = None  # from the request
        self._synthesizer, self._max_lag_seconds = synthesizer, max_lag_seconds
        self._loop = asyncio.get_running_loop()
        self._waited_seconds = 0.0
        self._chunks: AsyncGenerator[bytes, None]

    async def __aenter__(self) -> Self:
        self._started_at = self._loop.time()
        self._chunks = self._synthesizer.speak(self.sentence, self.voice, self._tenant)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._chunks.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        chunk = await self._next_chunk()
        if not chunk:
            if not self.audio_bytes and any(map(str.isalnum, self.sentence)):
                raise RequestNotSupported(f"{self.voice.tier} gave no audio for the text")
            raise StopAsyncIteration
        if self.first_audio_seconds is None:
            self.first_audio_seconds = self._loop.time() - self._started_at
        self.audio_bytes += len(chunk)
        return chunk

    async def _next_chunk(self) -> bytes:
        """Return the next audio, or nothing at the end. Raises ProviderTimeout."""
        before = self._loop.time()
        lag_seconds = max(0.0, self._waited_seconds - self.audio_bytes / SAMPLE_RATE)
        try:
            async with asyncio.timeout(self._max_lag_seconds - lag_seconds):
                return await anext(self._chunks, b"")
        except TimeoutError:
            raise ProviderTimeout(f"{self.voice.tier}: its audio is {self._max_lag_seconds:g} s late") from None
        finally:
            self._waited_seconds += self._loop.time() - before


def _estimated_seconds(sentence: str) -> float:
    """Estimate how long the sentence sounds at ordinary speed; rather too long than too short."""
    return sum(
        SECONDS_PER_DIGIT if character.isdigit() or character in "$%" else SECONDS_PER_CHARACTER
        for character in sentence
    )
