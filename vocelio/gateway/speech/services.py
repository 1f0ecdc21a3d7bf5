"""Speech as calls use it: the ears and voices of all providers that are configured."""

import asyncio
from dataclasses import dataclass

from vocelio.gateway.speech.circuit_breaker import ServiceStatus
from vocelio.gateway.speech.fallback_recognizer import FallbackRecognizer
from vocelio.gateway.speech.fallback_synthesizer import FallbackSynthesizer, PromptLookup
from vocelio.gateway.speech.interfaces import Recognizer, Synthesizer


@dataclass(frozen=True)
class SpeechServices:
    """What all calls of a process share."""

    recognizer: FallbackRecognizer
    synthesizer: FallbackSynthesizer

    async def start(self) -> None:
        """Get ready. Raises SpeechError when local speech is all there is, and cannot be had."""
        await asyncio.gather(self.recognizer.start(), self.synthesizer.start())

    async def aclose(self) -> None:
        """Leave nothing behind."""
        await asyncio.gather(self.recognizer.aclose(), self.synthesizer.aclose())

    def status(self) -> list[ServiceStatus]:
        """What is known of each service of each provider."""
        return sorted(
            [*self.recognizer.status(), *self.synthesizer.status()], key=lambda one: (one.provider, one.service)
        )


def single_provider(
    recognizer: Recognizer, synthesizer: Synthesizer, prompt_cache: PromptLookup | None = None
) -> SpeechServices:
    """One recogniser and one synthesizer, for whichever tier is asked for."""
    return SpeechServices(
        FallbackRecognizer({"local": recognizer}), FallbackSynthesizer({"local": synthesizer}, prompt_cache)
    )
