"""Listening with whichever recogniser can be had, from an utterance's first sound to its text.

The sound of the utterance is kept until there is a text. So when a provider fails in its midst, or does not come to an
end within ``DEADLINE`` seconds, the next one hears all of it from the beginning, which takes it a fraction of the time.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

from vocelio.codecs.mulaw import SAMPLE_RATE, SILENCE_BYTE
from vocelio.engine.voice import Tier
from vocelio.gateway.speech.circuit_breaker import CircuitBreaker, ProviderTimeout, ServiceStatus, start_providers
from vocelio.gateway.speech.fallback_synthesizer import FALLBACK_ORDER
from vocelio.gateway.speech.interfaces import (
    ProviderFailure,
    Recognition,
    RecognitionHints,
    RecognitionUsage,
    Recognizer,
    SpeechError,
    SpeechEventCallback,
    Transcript,
)

LOG = logging.getLogger(__name__)

FINAL_TIMEOUT_SECONDS = 1.2  # seconds from the end of an utterance to its text
PROBE_CONNECT_SECONDS = 1.0
MAX_UTTERANCE_BYTES = 30 * SAMPLE_RATE  # bytes kept of an utterance: the engine waits for none that is longer than 20 s
PROBE_AUDIO = bytes([SILENCE_BYTE]) * (SAMPLE_RATE // 2)


class _Provider(NamedTuple):
    recognizer: Recognizer
    breaker: CircuitBreaker


class FallbackRecognizer:
    """The recognisers of a process. ``recognizers`` are those that are configured; there is at least one."""

    def __init__(self, recognizers: Mapping[Tier, Recognizer]) -> None:
        self._providers: dict[Tier, _Provider] = {
            tier: _Provider(recognizer, CircuitBreaker(tier, "recognition", lambda tier=tier: self._probe(tier)))  # type: ignore[misc]
            for tier, recognizer in recognizers.items()
        }

    def open(
        self,
        tier: Tier,
        hints: RecognitionHints,
        on_transcript: Callable[[Transcript], None],
        on_error: Callable[[SpeechError], None],
        on_event: SpeechEventCallback,
    ) -> Recognition:
        """Begin to recognise. ``failed`` is called, once and later, when no recogniser can be had any more."""
        return _FallbackRecognition(
            [self._providers[one] for one in self._candidates(tier, hints)], hints, on_transcript, on_error, on_event
        )

    async def start(self) -> None:
        """See ``start_all``."""
        await start_providers({tier: (ear.recognizer, ear.breaker) for tier, ear in self._providers.items()})

    async def aclose(self) -> None:
        """Leave nothing behind."""
        await asyncio.gather(*(ear.breaker.aclose() for ear in self._providers.values()))
        await asyncio.gather(*(ear.recognizer.aclose() for ear in self._providers.values()))

    def status(self) -> list[ServiceStatus]:
        """What is known of each provider."""
        return [ear.breaker.status() for ear in self._providers.values()]

    def _candidates(self, tier: Tier, hints: RecognitionHints) -> list[Tier]:
        found: list[Tier] = [one for one in FALLBACK_ORDER[tier] if one in self._providers] or list(self._providers)
        able: list[Tier] = [one for one in found if one != "local" or _supported_by_local(hints)] or found
        return [one for one in able if self._providers[one].breaker.is_closed] or able[-1:]

    async def _probe(self, tier: Tier) -> None:
        """Half a second of silence: whatever text comes of it, the service is there."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def heard(text: Transcript) -> None:
            if text.final and not done.done():
                done.set_result(None)

        def failed(error: SpeechError) -> None:
            if not done.done():
                done.set_exception(error)

        recognition = self._providers[tier].recognizer.open(RecognitionHints(("yes", "no")), heard, failed)
        try:
            recognition.feed(PROBE_AUDIO)
            await asyncio.sleep(PROBE_CONNECT_SECONDS)  # which a prompt would give it
            recognition.finish()
            async with asyncio.timeout(FINAL_TIMEOUT_SECONDS):
                await done
        except TimeoutError:
            raise ProviderTimeout(f"{tier} had no text {FINAL_TIMEOUT_SECONDS:g} s after the probe's end") from None
        finally:
            recognition.close()


def _supported_by_local(hints: RecognitionHints) -> bool:
    """It hears no free text, and no language but English: that a caller is not understood would be all that it says."""
    return bool(hints.phrases) and hints.language.lower().split("-")[0] == "en"


class _FallbackRecognition:
    """One utterance: the Recognition that a call has, whoever recognises."""

    def __init__(
        self,
        candidates: list[_Provider],
        hints: RecognitionHints,
        on_transcript: Callable[[Transcript], None],
        on_error: Callable[[SpeechError], None],
        on_event: SpeechEventCallback,
    ) -> None:
        self._candidates, self._hints = candidates, hints
        self._on_transcript, self._on_error, self._on_event = on_transcript, on_error, on_event
        self._loop = asyncio.get_running_loop()
        self._audio = bytearray()
        self._provider: _Provider | None = None  # the present one, and how many bytes it was sent
        self._recognition: Recognition | None = None
        self._sent_bytes = 0
        self._attempt = 0  # which one it is: what an earlier one still says is not heard
        self._finished_at: float | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._ended = self._has_partial = False
        self._open_next(SpeechError("no recogniser is configured"))

    def feed(self, mulaw: bytes) -> None:
        """See Recognition."""
        if self._ended or self._finished_at is not None:
            return
        if len(self._audio) + len(mulaw) > MAX_UTTERANCE_BYTES:
            self._close_current(None)
            self._fail_soon(SpeechError(f"an utterance of more than {MAX_UTTERANCE_BYTES // SAMPLE_RATE} s"))
            return
        self._audio += mulaw
        if self._recognition:
            self._sent_bytes += len(mulaw)
            self._recognition.feed(mulaw)

    def finish(self) -> None:
        """See Recognition."""
        if not self._ended and self._finished_at is None:
            self._finished_at = self._loop.time()
            self._finish()

    def close(self) -> None:
        """See Recognition."""
        if self._has_partial and not self._ended and self._provider:
            self._provider.breaker.record_success()  # what it had understood so far was enough, or keys were quicker
        self._ended = True
        self._close_current(None)
        self._audio.clear()

    def _open_next(self, last_error: SpeechError) -> None:
        """Another recogniser hears what there is; without one the utterance is lost to that problem."""
        while self._candidates:
            ear = self._provider = self._candidates.pop(0)
            self._attempt += 1
            heard, failed = partial(self._handle_transcript, self._attempt), partial(self._handle_error, self._attempt)
            try:
                self._recognition = ear.recognizer.open(self._hints, heard, failed)
            except SpeechError as error:
                last_error = error
            except Exception:
                LOG.exception("a recognition could not be opened")
                last_error = SpeechError(f"{ear.breaker.provider}: listening failed; the log says how")
            else:
                self._replay_audio(self._recognition)
                return
            self._record_failure(ear, last_error)
        self._fail_soon(last_error)

    def _replay_audio(self, recognition: Recognition) -> None:
        """It hears what there is already."""
        if self._audio:
            self._sent_bytes = len(self._audio)
            recognition.feed(bytes(self._audio))
        if self._finished_at is not None:
            self._finish()

    def _finish(self) -> None:
        if self._recognition and self._provider:
            late = ProviderTimeout(
                f"{self._provider.breaker.provider} had no text {FINAL_TIMEOUT_SECONDS:g} s after the utterance's end"
            )
            self._deadline = self._loop.call_later(FINAL_TIMEOUT_SECONDS, self._handle_error, self._attempt, late)
            self._recognition.finish()

    def _handle_transcript(self, attempt: int, transcript: Transcript) -> None:
        if attempt != self._attempt or self._ended:
            return
        if transcript.final and self._provider:
            after = None if self._finished_at is None else self._loop.time() - self._finished_at
            self._provider.breaker.record_success(after)
            self._ended = True
            self._close_current(after)
        self._has_partial = True
        self._on_transcript(transcript)

    def _handle_error(self, attempt: int, error: SpeechError) -> None:
        if attempt == self._attempt and not self._ended and self._provider:
            self._record_failure(self._provider, error)
            self._close_current(None)
            self._open_next(error)

    def _record_failure(self, provider: _Provider, error: SpeechError) -> None:
        provider.breaker.record_failure(error)
        self._on_event(
            ProviderFailure(provider.breaker.provider, "recognition", str(error), isinstance(error, ProviderTimeout))
        )

    def _close_current(self, latency_seconds: float | None) -> None:
        """The present recogniser is done with."""
        if self._deadline:
            self._deadline.cancel()
            self._deadline = None
        recognition, self._recognition = self._recognition, None
        if recognition and self._provider:
            if self._sent_bytes:
                self._on_event(
                    RecognitionUsage(self._provider.breaker.provider, self._sent_bytes / SAMPLE_RATE, latency_seconds)
                )
            self._sent_bytes = 0
            recognition.close()

    def _fail_soon(self, error: SpeechError) -> None:
        """On the loop's next turn: nobody is called back from inside their own call."""
        self._loop.call_soon(self._fail, error)

    def _fail(self, error: SpeechError) -> None:
        if not self._ended:
            self._ended = True
            self._on_error(error)
