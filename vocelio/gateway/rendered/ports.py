"""What rendering needs of others."""

from collections.abc import Callable
from typing import Protocol

from vocelio.engine.voice import Voice

Renders = Callable[[Voice], Voice | None]
"""In which voice a flow's is rendered: itself, or the one that speaks in its place where its tier cannot be had for
good. None: there is nobody to render it at present. It is asked on the event loop, often, and must be quick."""


class Synthesise(Protocol):
    """One sentence, spoken."""

    async def __call__(self, sentence: str, voice: Voice) -> bytes:
        """Its sound, whole: mu-law, 8,000 bytes a second. Raises SpeechError."""
        ...
