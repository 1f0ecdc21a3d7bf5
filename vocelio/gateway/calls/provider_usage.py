"""What the providers of speech did for one call: what they will ask money for, and how fast they were."""

from copy import copy
from typing import assert_never

from vocelio.engine.voice import Tier
from vocelio.gateway.metrics import Metrics
from vocelio.gateway.speech.telemetry import FirstAudio, ProviderFailure, RecognitionUsage, SpeechEvent, SynthesisUsage
from vocelio.gateway.store.calls.interface import ProviderUsageTotals


class ProviderUsage:
    """All of a call's, through all of its streams."""

    def __init__(self, totals: dict[Tier, ProviderUsageTotals] | None = None) -> None:
        self._totals = totals or {}

    def snapshot(self) -> dict[Tier, ProviderUsageTotals]:
        """As it is now."""
        return {provider: copy(tally) for provider, tally in self._totals.items()}

    def add(self, event: SpeechEvent) -> None:
        """Take it into account."""
        if isinstance(event, FirstAudio):
            return
        tally = self._totals.setdefault(event.provider, ProviderUsageTotals())
        match event:
            case SynthesisUsage(characters=characters, first_audio_seconds=seconds):
                tally.syntheses += 1
                tally.characters += characters
                if seconds is not None:
                    tally.sounded += 1
                    tally.first_byte_ms += round(seconds * 1000)
                    tally.first_byte_max_ms = max(tally.first_byte_max_ms, round(seconds * 1000))
            case RecognitionUsage(audio_seconds=seconds, latency_seconds=after):
                tally.recognitions += 1
                tally.recognised_ms += round(seconds * 1000)
                if after is not None:
                    tally.understood += 1
                    tally.text_ms += round(after * 1000)
            case ProviderFailure():
                tally.failures += 1
            case _:
                assert_never(event)


def update_metrics(metrics: Metrics, event: SpeechEvent) -> None:
    """The same, for the process's figures."""
    match event:
        case SynthesisUsage():
            metrics.observe_synthesis(event.provider, event.characters, event.first_audio_seconds)
        case RecognitionUsage():
            metrics.observe_recognition(event.provider, event.audio_seconds, event.latency_seconds)
        case ProviderFailure():
            metrics.count_failure(event.provider, event.service)
        case FirstAudio():
            pass
