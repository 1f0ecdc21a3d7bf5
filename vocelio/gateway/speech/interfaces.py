"""Interfaces of speech: what a call needs of a recognizer and a synthesizer, and what it is told about their work.

Audio crosses these interfaces as telephone audio: mu-law, 8,000 bytes per second. A method that is not a coroutine must
return at once: it may be called for every 20 ms frame, on the event loop. Callbacks run on the event loop, never from
inside the call that caused them.
"""

from collections.abc import AsyncGenerator, Callable
from typing import Literal, Protocol

import msgspec

from vocelio.engine.voice import Tier, Voice

ServiceKind = Literal["recognition", "synthesis"]


class SpeechError(Exception):
    """A provider refused, stalled or died. The message says which and why; it is safe to log."""


class AuthenticationFailed(SpeechError):
    """The key is missing, wrong, expired or used up: every request will fail until the operator acts."""


class RequestNotSupported(SpeechError):
    """The provider does not take this request (unknown voice, text too long, no free capacity).

    It says nothing about the provider's health.
    """


class RecognitionHints(msgspec.Struct, frozen=True):
    """What a recognizer may expect to hear.

    Attributes:
        phrases: Texts that the flow accepts: a recognizer with a grammar hears only these, one with a language model
            prefers them.
        language: BCP 47 code.
        repeat: Whether phrases may follow one another, as digits do.
        silence_seconds: Silence that ends the utterance, for a service that detects its end itself.
        tenant: To whom it is charged if the recognizer dies on the audio or the phrases; empty for the gateway itself.
    """

    phrases: tuple[str, ...]
    language: str = "en-US"
    repeat: bool = False
    silence_seconds: float = 0.6
    tenant: str = ""


class Transcript(msgspec.Struct, frozen=True):
    """Partial or final text of an utterance; empty if it was not understood. ``confidence`` is 0 to 1."""

    text: str
    confidence: float
    final: bool


class Recognition(Protocol):
    """The recognition of one utterance, from its first audio to its final transcript.

    A service that detects the end of the utterance itself may give the final transcript before ``finish``.
    """

    def feed(self, mulaw: bytes) -> None:
        """Take the next audio. Never blocks; beyond the provider's limit the recognition fails instead of growing."""

    def finish(self) -> None:
        """Mark the end of the utterance; exactly one final transcript or one failure follows. Idempotent."""

    def close(self) -> None:
        """Discard the recognition: no callback runs after this returns. Allowed at any time, and repeatedly."""


class Recognizer(Protocol):
    """A provider of speech recognition."""

    async def start(self) -> None:
        """Prepare connections or processes, so that the first ``open`` is fast. Raises SpeechError."""

    def open(
        self,
        hints: RecognitionHints,
        on_transcript: Callable[[Transcript], None],
        on_error: Callable[[SpeechError], None],
    ) -> Recognition:
        """Open a recognition. ``on_transcript`` gets partials and then one final, or ``on_error`` is called once.

        It is opened when the call begins to listen, mostly while the prompt still plays: time to connect. Audio follows
        when the caller speaks, which may be never; until then it should cost next to nothing.
        """
        ...

    async def aclose(self) -> None:
        """End every recognition; leave no task, thread, process or socket behind."""


class Synthesizer(Protocol):
    """A provider of speech synthesis."""

    async def start(self) -> None:
        """Prepare connections, so that the first ``speak`` is fast. Raises SpeechError."""

    def speak(self, text: str, voice: Voice, tenant: str = "") -> AsyncGenerator[bytes, None]:
        """Yield mu-law audio of ``text``, chunk by chunk as it is synthesized.

        ``tenant`` is charged if the synthesizer dies on the text; it is empty for the gateway itself.
        Closing the generator (``aclose``) cancels the synthesis. Raises SpeechError, also after some audio.
        """
        ...

    async def aclose(self) -> None:
        """Leave no task, thread, process or socket behind."""


class FirstAudio(msgspec.Struct, frozen=True):
    """A prompt's first audio is there, in this provider's voice; or another provider's voice continues the prompt."""

    provider: Tier


class SynthesisUsage(msgspec.Struct, frozen=True):
    """A provider was asked to speak ``characters``; ``first_audio_seconds`` is None if no audio came."""

    provider: Tier
    characters: int
    first_audio_seconds: float | None


class RecognitionUsage(msgspec.Struct, frozen=True):
    """A provider was sent ``audio_seconds``; ``latency_seconds`` passed from the end of the utterance to its text.

    The latency is None if there was no text, or if it came before the end of the utterance.
    """

    provider: Tier
    audio_seconds: float
    latency_seconds: float | None


class ProviderFailure(msgspec.Struct, frozen=True):
    """A provider failed in this call, and another takes over if there is one. ``error`` is safe to show.

    A provider that has ``timed_out`` is likely to time out again at once, whatever it is asked for.
    """

    provider: Tier
    service: ServiceKind
    error: str
    timed_out: bool = False


SpeechEvent = FirstAudio | SynthesisUsage | RecognitionUsage | ProviderFailure
"""For a call's bill, its timeline and its monitors."""

SpeechEventCallback = Callable[[SpeechEvent], None]


def ignore_event(_: SpeechEvent) -> None:
    """Discard an event, where there is no call to report to."""
