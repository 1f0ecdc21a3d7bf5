"""Speech without sound knowledge: a recogniser that is told what it will have heard, a synthesizer of tones.

Real implementations of the ports, for tests and benches of everything that is not speech itself.
"""

import asyncio
import math
from collections.abc import AsyncGenerator, Callable, Iterable

from vocelio.codecs import mulaw
from vocelio.engine.voice import Voice
from vocelio.gateway.speech.interfaces import Expectation, Heard, SpeechError

SECONDS_A_CHARACTER = 0.06  # about the speed of speech
CHUNK = 800  # bytes, 100 ms


class ScriptedRecognizer:
    """Gives its texts one after the other, a final for each utterance; then it understands nothing."""

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self._texts = iter(texts)
        self.opened: list[ScriptedRecognition] = []

    async def start(self) -> None:
        """See Recognizer."""

    def open(
        self, expectation: Expectation, heard: Callable[[Heard], None], failed: Callable[[SpeechError], None]
    ) -> "ScriptedRecognition":
        """See Recognizer."""
        recognition = ScriptedRecognition(expectation, lambda: next(self._texts, ""), heard)
        self.opened.append(recognition)
        return recognition

    async def aclose(self) -> None:
        """See Recognizer."""


class ScriptedRecognition:
    """One utterance; ``sound`` is what it was fed."""

    def __init__(self, expectation: Expectation, text: Callable[[], str], heard: Callable[[Heard], None]) -> None:
        self.expectation = expectation
        self.sound = b""
        self.closed = False
        self._text, self._heard = text, heard
        self._finished = False

    def feed(self, mulaw: bytes) -> None:
        """See Recognition."""
        self.sound += mulaw

    def finish(self) -> None:
        """See Recognition."""
        if not self._finished:
            self._finished = True
            asyncio.get_running_loop().call_soon(self._give)

    def close(self) -> None:
        """See Recognition."""
        self.closed = True

    def _give(self) -> None:
        if not self.closed:
            text = self._text()
            self._heard(Heard(text, 1.0 if text else 0.0, final=True))


class ToneSynthesizer:
    """Speaks every text as a 440 Hz tone, about as long as speech; all of it at once, in 100 ms chunks."""

    async def start(self) -> None:
        """See Synthesizer."""

    async def speak(self, text: str, voice: Voice) -> AsyncGenerator[bytes, None]:
        """See Synthesizer."""
        left = round(len(text) * SECONDS_A_CHARACTER / voice.speed * mulaw.SAMPLE_RATE)
        while left > 0:
            yield _TONE[: min(left, CHUNK)]
            left -= CHUNK

    async def aclose(self) -> None:
        """See Synthesizer."""


_TONE = mulaw.encode(
    b"".join(
        round(6000 * math.sin(2 * math.pi * 440 * index / mulaw.SAMPLE_RATE)).to_bytes(2, "little", signed=True)
        for index in range(CHUNK)
    )
)
