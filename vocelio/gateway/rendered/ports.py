"""What rendering needs of others."""

from collections.abc import Callable
from contextlib import aclosing
from typing import Protocol

from vocelio.engine.voice import Voice
from vocelio.gateway.speech.ports import Synthesizer

Renders = Callable[[Voice], Voice | None]
"""In which voice a flow's is rendered: itself, or the one that speaks in its place where its tier cannot be had for
good. None: there is nobody to render it at present. It is asked on the event loop, often, and must be quick."""


class Synthesise(Protocol):
    """One sentence, spoken."""

    async def __call__(self, sentence: str, voice: Voice) -> bytes:
        """Its sound, whole: mu-law, 8,000 bytes a second. Raises SpeechError."""
        ...


def whole(synthesizer: Synthesizer) -> Synthesise:
    """What a provider of speech gives chunk by chunk, in one piece."""

    async def synthesise(sentence: str, voice: Voice) -> bytes:
        async with aclosing(synthesizer.speak(sentence, voice)) as sound:
            return b"".join([chunk async for chunk in sound])

    return synthesise


def as_written(voice: Voice) -> Voice | None:
    """Every voice is rendered as it is: where a synthesizer takes them all."""
    return voice
