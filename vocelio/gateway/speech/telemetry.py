"""What a call is told about how it is spoken for and heard: for its bill, its timeline and those who watch."""

from collections.abc import Callable

import msgspec

from vocelio.engine.voice import Tier
from vocelio.gateway.speech.circuit_breaker import ServiceKind


class FirstAudio(msgspec.Struct, frozen=True):
    """The first sound of a prompt is there, and whose voice it is; or another voice goes on with the prompt."""

    provider: Tier


class SynthesisUsage(msgspec.Struct, frozen=True):
    """A provider was asked to speak so many ``characters``. ``seconds`` passed until its first sound, if one came."""

    provider: Tier
    characters: int
    first_audio_seconds: float | None


class RecognitionUsage(msgspec.Struct, frozen=True):
    """A provider was sent so many ``seconds`` of sound. ``after`` the utterance's end so many passed to its text."""

    provider: Tier
    audio_seconds: float
    latency_seconds: float | None


class ProviderFailure(msgspec.Struct, frozen=True):
    """A provider failed in this call; ``problem`` is safe to show. Another goes on, if there is one.

    One that came too ``late`` is likely to be so again at once, with all that it does.
    """

    provider: Tier
    service: ServiceKind
    error: str
    timed_out: bool = False


SpeechEvent = FirstAudio | SynthesisUsage | RecognitionUsage | ProviderFailure
SpeechEventCallback = Callable[[SpeechEvent], None]


def ignore_event(_: SpeechEvent) -> None:
    """For whom it is nobody's business."""
