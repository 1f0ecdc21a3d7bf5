"""Test doubles of speech: a recognizer with scripted transcripts and a synthesizer of tones.

Real implementations of the interfaces, for tests and benchmarks of everything that is not speech itself.
"""

import asyncio
import math
from collections.abc import AsyncGenerator, Callable, Iterable

from vocelio.codecs import mulaw
from vocelio.engine.voice import Voice
from vocelio.gateway.speech.interfaces import RecognitionHints, SpeechError, Transcript

SECONDS_PER_CHARACTER = 0.06  # about the speed of speech
CHUNK_BYTES = 800  # 100 ms


class ScriptedRecognizer:
    """Gives its texts one after another, one final transcript per utterance; then it understands nothing."""

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self._texts = iter(texts)
        self.recognitions: list[ScriptedRecognition] = []

    async def start(self) -> None: ...

    def open(
        self,
        hints: RecognitionHints,
        on_transcript: Callable[[Transcript], None],
        on_error: Callable[[SpeechError], None],
    ) -> "ScriptedRecognition":
        recognition = ScriptedRecognition(hints, lambda: next(self._texts, ""), on_transcript)
        self.recognitions.append(recognition)
        return recognition

    async def aclose(self) -> None: ...


class ScriptedRecognition:
    """One utterance; ``audio`` is what it was fed."""

    def __init__(
        self, hints: RecognitionHints, next_text: Callable[[], str], on_transcript: Callable[[Transcript], None]
    ) -> None:
        self.hints = hints
        self.audio = b""
        self.closed = False
        self._next_text, self._on_transcript = next_text, on_transcript
        self._finished = False

    def feed(self, mulaw: bytes) -> None:
        self.audio += mulaw

    def finish(self) -> None:
        if not self._finished:
            self._finished = True
            asyncio.get_running_loop().call_soon(self._deliver_final)

    def close(self) -> None:
        self.closed = True

    def _deliver_final(self) -> None:
        if not self.closed:
            text = self._next_text()
            self._on_transcript(Transcript(text, 1.0 if text else 0.0, final=True))


class ToneSynthesizer:
    """Speaks every text as a 440 Hz tone, about as long as speech; all of it at once, in 100 ms chunks."""

    async def start(self) -> None: ...

    async def speak(self, text: str, voice: Voice, tenant: str = "") -> AsyncGenerator[bytes, None]:
        remaining_bytes = round(len(text) * SECONDS_PER_CHARACTER / voice.speed * mulaw.SAMPLE_RATE)
        while remaining_bytes > 0:
            yield _TONE_CHUNK[: min(remaining_bytes, CHUNK_BYTES)]
            remaining_bytes -= CHUNK_BYTES

    async def aclose(self) -> None: ...


_TONE_CHUNK = mulaw.encode(
    b"".join(
        round(6000 * math.sin(2 * math.pi * 440 * index / mulaw.SAMPLE_RATE)).to_bytes(2, "little", signed=True)
        for index in range(CHUNK_BYTES)
    )
)
