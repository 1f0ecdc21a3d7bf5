"""Helpers of the tests of the local recognizer."""

import os
from collections.abc import Iterable
from contextlib import aclosing
from pathlib import Path

from tests.support.recognition_client import PAUSE_AUDIO, RecognitionClient
from vocelio.engine.voice import Voice
from vocelio.gateway.speech.interfaces import RecognitionHints, Transcript
from vocelio.gateway.speech.local.recognizer import LocalRecognizer
from vocelio.gateway.speech.local.synthesizer import LocalSynthesizer

MENU_HINTS = RecognitionHints(("sales", "buy something", "billing", "my invoice", "support", "technical help"))
YES_NO_HINTS = RecognitionHints(("yes", "yeah", "yes please", "no", "no thanks"))


async def recognize(recognizer: LocalRecognizer, audio: bytes, hints: RecognitionHints) -> Transcript:
    client = RecognitionClient(recognizer, hints)
    client.feed(PAUSE_AUDIO + audio + PAUSE_AUDIO)
    client.recognition.finish()
    return await client.result()


_synthesized: dict[tuple[str, str], bytes] = {}  # starting a worker takes half a second


async def synthesize(text: str, voice: str = "en-us") -> bytes:
    if (text, voice) not in _synthesized:
        async with aclosing(LocalSynthesizer(workers=1)) as synthesizer:
            chunks = [chunk async for chunk in synthesizer.speak(text, Voice(name=voice))]
        _synthesized[text, voice] = b"".join(chunks)
    return _synthesized[text, voice]


async def synthesize_all(texts: Iterable[tuple[str, str]]) -> list[bytes]:
    """Synthesize (text, voice) pairs with one worker."""
    async with aclosing(LocalSynthesizer(workers=1)) as synthesizer:
        return [
            b"".join([chunk async for chunk in synthesizer.speak(text, Voice(name=voice))]) for text, voice in texts
        ]


def worker_pids() -> set[int]:
    """Return the Python child processes that have not been reaped; servers of other tests are not among them."""
    pids = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, _, rest = stat.read_text().partition("(")[2].rpartition(")")
        except OSError:
            continue  # it has just exited
        if int(rest.split()[1]) == os.getpid() and name.startswith("python"):
            pids.add(int(stat.parent.name))
    return pids
