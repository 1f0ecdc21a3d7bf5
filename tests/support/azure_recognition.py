"""What the tests of recognition by Azure have in common."""

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
    """One that expects the menu."""

    def __init__(self, recognizer, expectation=MENU):
        super().__init__(recognizer, expectation)


async def recognize(recognizer, audio, expectation=MENU, live=False):
    """What is understood of a sound that comes all at once, which many at a time cannot in time, or as it is said."""
    ear = MenuRecognitionClient(recognizer, expectation)
    sound = PAUSE_AUDIO + audio + PAUSE_AUDIO
    for start in range(0, len(sound), FRAME_BYTES):
        ear.recognition.feed(sound[start : start + FRAME_BYTES])
        if live:
            await asyncio.sleep(FRAME_BYTES / mulaw.SAMPLE_RATE)
    ear.recognition.finish()
    return await ear.result()


async def synthesize(mouth, text, voice="en-us"):
    return b"".join([chunk async for chunk in mouth.speak(text, Voice(name=voice))])
