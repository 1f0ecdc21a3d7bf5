"""What the tests of recognition by Azure have in common: a caller's sound, and an ear that remembers."""

import asyncio

from vocelio.codecs import mulaw
from vocelio.engine.voice import Voice
from vocelio.gateway.config import Azure
from vocelio.gateway.speech.ports import Expectation

KEY = "0123456789abcdef0123456789abcdef"
MENU = Expectation(("sales", "billing", "support", "technical help"))
DIGITS = Expectation(
    ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "double", "triple"), repeat=True
)
FRAME = 160
PAUSE = bytes([mulaw.SILENCE]) * (FRAME * 15)


def account(emulator, key=KEY):
    return Azure(key=key, host=emulator.host)


class Ear:
    """One recognition and everything that it called back."""

    def __init__(self, recognizer, expectation=MENU):
        self.partials = []
        self.any_partial = asyncio.Event()
        self.outcome = asyncio.get_running_loop().create_future()
        self.recognition = recognizer.open(expectation, self._heard, self.outcome.set_exception)

    def _heard(self, heard):
        if heard.final:
            self.outcome.set_result(heard)
        else:
            self.partials.append(heard)
            self.any_partial.set()

    def feed(self, audio):
        for start in range(0, len(audio), FRAME):
            self.recognition.feed(audio[start : start + FRAME])

    async def result(self, seconds=10):
        async with asyncio.timeout(seconds):
            return await self.outcome


async def hear(recognizer, audio, expectation=MENU, pace=0):
    """What is understood, ``pace`` times as fast as it is said; or as fast as can be, which many at once cannot be."""
    ear = Ear(recognizer, expectation)
    sound = PAUSE + audio + PAUSE
    for start in range(0, len(sound), FRAME):
        ear.recognition.feed(sound[start : start + FRAME])
        if pace:
            await asyncio.sleep(FRAME / mulaw.SAMPLE_RATE / pace)
    ear.recognition.finish()
    return await ear.result()


async def say(mouth, text, voice="en-us"):
    return b"".join([chunk async for chunk in mouth.speak(text, Voice(name=voice))])
