"""Helpers for tests of Azure recognition."""

import asyncio

from tests.support import recognition_client
from tests.support.recognition_client import FRAME_BYTES, PAUSE_AUDIO
from vocelio.codecs import mulaw
from vocelio.engine.voice import Voice
from vocelio.gateway.config import AzureSettings
from vocelio.gateway.speech.interfaces import RecognitionHints

KEY = "0123456789abcdef0123456789abcdef"
MENU = RecognitionHints(("sales", "billing", "support", "technical help"))
DIGITS = RecognitionHints(
    ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "double", "triple"), repeat=True
)


def make_account(emulator, key=KEY):
    return AzureSettings(key=key, host=emulator.host)


class MenuRecognitionClient(recognition_client.RecognitionClient):
    """A client that expects the phrases of a menu."""

    def __init__(self, recognizer, hints=MENU):
        super().__init__(recognizer, hints)


async def recognize(recognizer, audio, hints=MENU, live=False):
    """Recognize audio, fed at once or (``live``) in real time; many recognitions in real time overload the machine."""
    client = MenuRecognitionClient(recognizer, hints)
    padded = PAUSE_AUDIO + audio + PAUSE_AUDIO
    for start in range(0, len(padded), FRAME_BYTES):
        client.recognition.feed(padded[start : start + FRAME_BYTES])
        if live:
            await asyncio.sleep(FRAME_BYTES / mulaw.SAMPLE_RATE)
    client.recognition.finish()
    return await client.result()


async def synthesize(synthesizer, text, voice="en-us"):
    return b"".join([chunk async for chunk in synthesizer.speak(text, Voice(name=voice))])
