"""Helpers of the tests of the local recognizer."""

import os
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


async def synthesize(text: str, voice: str = "en-us") -> bytes:
    synthesizer = LocalSynthesizer()
    try:
        return b"".join([chunk async for chunk in synthesizer.speak(text, Voice(name=voice))])
    finally:
        await synthesizer.aclose()


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
