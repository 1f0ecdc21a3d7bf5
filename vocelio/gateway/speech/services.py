"""Speech as calls use it: the ears and voices of all providers that are configured."""

import asyncio
from dataclasses import dataclass

from vocelio.gateway.speech.circuit_breaker import Report
from vocelio.gateway.speech.fallback_recognizer import Ears
from vocelio.gateway.speech.fallback_synthesizer import Shelf, Voices
from vocelio.gateway.speech.interfaces import Recognizer, Synthesizer


@dataclass(frozen=True)
class Speech:
    """What all calls of a process share."""

    ears: Ears
    voices: Voices

    async def start(self) -> None:
        """Get ready. Raises SpeechError when local speech is all there is, and cannot be had."""
        await asyncio.gather(self.ears.start(), self.voices.start())

    async def aclose(self) -> None:
        """Leave nothing behind."""
        await asyncio.gather(self.ears.aclose(), self.voices.aclose())

    def report(self) -> list[Report]:
        """What is known of each service of each provider."""
        return sorted([*self.ears.report(), *self.voices.report()], key=lambda one: (one.provider, one.service))


def only(recognizer: Recognizer, synthesizer: Synthesizer, shelf: Shelf | None = None) -> Speech:
    """One recogniser and one synthesizer, for whichever tier is asked for."""
    return Speech(Ears({"local": recognizer}), Voices({"local": synthesizer}, shelf))
