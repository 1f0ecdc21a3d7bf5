"""Speech recognition with fallback, from the first audio of an utterance to its text.

The audio of the utterance is buffered until there is a text. If a provider fails on the way, or gives no text within
FINAL_TIMEOUT_SECONDS, the next one hears all of it from the beginning, which takes it a fraction of the time.
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

FINAL_TIMEOUT_SECONDS = 1.2  # from the end of an utterance to its text
PROBE_CONNECT_SECONDS = 1.0
MAX_UTTERANCE_BYTES = 30 * SAMPLE_RATE  # the engine waits for none that is longer than 20 s
PROBE_AUDIO = bytes([SILENCE_BYTE]) * (SAMPLE_RATE // 2)


class _Provider(NamedTuple):
    recognizer: Recognizer
    breaker: CircuitBreaker


class FallbackRecognizer:
    """The recognizers of a process. ``recognizers`` are the configured ones, at least one."""

    def __init__(self, recognizers: Mapping[Tier, Recognizer]) -> None:
        self._providers: dict[Tier, _Provider] = {
            tier: _Provider(recognizer, CircuitBreaker(tier, "recognition", lambda tier=tier: self._probe(tier)))  # type: ignore[misc]
            for tier, recognizer in recognizers.items()
        }

    async def start(self) -> None:
        """Start all providers. Raises SpeechError if local speech is the only one and fails."""
        await start_providers(
            {tier: (provider.recognizer, provider.breaker) for tier, provider in self._providers.items()}
        )

    async def aclose(self) -> None:
        await asyncio.gather(*(provider.breaker.aclose() for provider in self._providers.values()))
        await asyncio.gather(*(provider.recognizer.aclose() for provider in self._providers.values()))

    def status(self) -> list[ServiceStatus]:
        """Return the state and statistics of each provider."""
        return [provider.breaker.status() for provider in self._providers.values()]

    def open(
        self,
        tier: Tier,
        hints: RecognitionHints,
        on_transcript: Callable[[Transcript], None],
        on_error: Callable[[SpeechError], None],
        on_event: SpeechEventCallback,
    ) -> Recognition:
        """Open a recognition. If every provider fails, ``on_error`` is called once, never from inside this call."""
        candidates = [self._providers[candidate] for candidate in self._candidates(tier, hints)]
        return _FallbackRecognition(candidates, hints, on_transcript, on_error, on_event)

    def _candidates(self, tier: Tier, hints: RecognitionHints) -> list[Tier]:
        """Return the providers to try, best first: those with a closed breaker, or else the last suitable one."""
        configured: list[Tier] = [candidate for candidate in FALLBACK_ORDER[tier] if candidate in self._providers]
        configured = configured or list(self._providers)
        suitable: list[Tier] = [
            candidate for candidate in configured if candidate != "local" or _supported_by_local(hints)
        ]
        suitable = suitable or configured
        return [candidate for candidate in suitable if self._providers[candidate].breaker.is_closed] or suitable[-1:]

    async def _probe(self, tier: Tier) -> None:
        """Have half a second of silence recognized; any final transcript means that the service works."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def on_transcript(transcript: Transcript) -> None:
            if transcript.final and not done.done():
                done.set_result(None)

        def on_error(error: SpeechError) -> None:
            if not done.done():
                done.set_exception(error)

        recognition = self._providers[tier].recognizer.open(RecognitionHints(("yes", "no")), on_transcript, on_error)
        try:
            recognition.feed(PROBE_AUDIO)
            await asyncio.sleep(PROBE_CONNECT_SECONDS)  # in a call it connects during the prompt
            recognition.finish()
            async with asyncio.timeout(FINAL_TIMEOUT_SECONDS):
                await done
        except TimeoutError:
            raise ProviderTimeout(
                f"{tier} gave no text within {FINAL_TIMEOUT_SECONDS:g} s of the probe's end"
            ) from None
        finally:
            recognition.close()


def _supported_by_local(hints: RecognitionHints) -> bool:
    """Tell whether local recognition can help: it hears no free text, and only English."""
    return bool(hints.phrases) and hints.language.lower().split("-")[0] == "en"


class _FallbackRecognition:
    """The recognition of one utterance, by the first candidate that does not fail."""

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
        self._provider: _Provider | None = None  # the current one
        self._recognition: Recognition | None = None  # the current provider's
        self._sent_bytes = 0  # to the current provider
        self._attempt = 0  # number of the current provider: callbacks of earlier ones are ignored
        self._finished_at: float | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._ended = self._has_partial = False
        self._open_next(SpeechError("no recognizer is configured"))

    def feed(self, mulaw: bytes) -> None:
        if self._ended or self._finished_at is not None:
            return
        if len(self._audio) + len(mulaw) > MAX_UTTERANCE_BYTES:
            self._close_current(None)
            self._fail_soon(SpeechError(f"the utterance is longer than {MAX_UTTERANCE_BYTES // SAMPLE_RATE} s"))
            return
        self._audio += mulaw
        if self._recognition:
            self._sent_bytes += len(mulaw)
            self._recognition.feed(mulaw)

    def finish(self) -> None:
        if not self._ended and self._finished_at is None:
            self._finished_at = self._loop.time()
            self._finish()

    def close(self) -> None:
        if self._has_partial and not self._ended and self._provider:
            self._provider.breaker.record_success()  # its partials were enough, or a key was pressed first
        self._ended = True
        self._close_current(None)
        self._audio.clear()

    def _open_next(self, last_error: SpeechError) -> None:
        """Let the next candidate hear the utterance; without one the recognition fails with the last error."""
        while self._candidates:
            provider = self._provider = self._candidates.pop(0)
            self._attempt += 1
            on_transcript = partial(self._handle_transcript, self._attempt)
            on_error = partial(self._handle_error, self._attempt)
            try:
                self._recognition = provider.recognizer.open(self._hints, on_transcript, on_error)
            except SpeechError as error:
                last_error = error
            except Exception:
                LOG.exception("recognition by %s could not be opened; trying the next", provider.breaker.provider)
                last_error = SpeechError(f"{provider.breaker.provider}: recognition failed; the log has the details")
            else:
                self._replay_audio(self._recognition)
                return
            self._record_failure(provider, last_error)
        self._fail_soon(last_error)

    def _replay_audio(self, recognition: Recognition) -> None:
        if self._audio:
            self._sent_bytes = len(self._audio)
            recognition.feed(bytes(self._audio))
        if self._finished_at is not None:
            self._finish()

    def _finish(self) -> None:
        if self._recognition and self._provider:
            name = self._provider.breaker.provider
            timeout = ProviderTimeout(f"{name} gave no text within {FINAL_TIMEOUT_SECONDS:g} s of the utterance's end")
            self._deadline = self._loop.call_later(FINAL_TIMEOUT_SECONDS, self._handle_error, self._attempt, timeout)
            self._recognition.finish()

    def _handle_transcript(self, attempt: int, transcript: Transcript) -> None:
        if attempt != self._attempt or self._ended:
            return
        if transcript.final and self._provider:
            latency_seconds = None if self._finished_at is None else self._loop.time() - self._finished_at
            self._provider.breaker.record_success(latency_seconds)
            self._ended = True
            self._close_current(latency_seconds)
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
        """Close the current provider's recognition, and report its usage."""
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
        """Fail in the loop's next iteration: callbacks must not run inside the caller's own call."""
        self._loop.call_soon(self._fail, error)

    def _fail(self, error: SpeechError) -> None:
        if not self._ended:
            self._ended = True
            self._on_error(error)
