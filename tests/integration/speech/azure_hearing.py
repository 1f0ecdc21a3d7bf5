"""What the tests of recognition by Azure have in common."""

import asyncio

from tests.integration.speech import hearing
from tests.integration.speech.hearing import FRAME, PAUSE
from vocelio.codecs import mulaw
from vocelio.engine.voice import Voice
from vocelio.gateway.config import Azure
from vocelio.gateway.speech.interfaces import Expectation

KEY = "0123456789abcdef0123456789abcdef"
MENU = Expectation(("sales", "billing", "support", "technical help"))
DIGITS = Expectation(
    ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "double", "triple"), repeat=True
)


def account(emulator, key=KEY):
    return Azure(key=key, host=emulator.host)


class Ear(hearing.Ear):
    """One that expects the menu."""

    def __init__(self, recognizer, expectation=MENU):
        super().__init__(recognizer, expectation)


async def hear(recognizer, audio, expectation=MENU, live=False):
    """What is understood of a sound that comes all at once, which many at a time cannot in time, or as it is said."""
    ear = Ear(recognizer, expectation)
    sound = PAUSE + audio + PAUSE
    for start in range(0, len(sound), FRAME):
        ear.recognition.feed(sound[start : start + FRAME])
        if live:
            await asyncio.sleep(FRAME / mulaw.SAMPLE_RATE)
    ear.recognition.finish()
    return await ear.result()


async def say(mouth, text, voice="en-us"):
    return b"".join([chunk async for chunk in mouth.speak(text, Voice(name=voice))])
