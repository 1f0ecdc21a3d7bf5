"""What the tests of the local recogniser say to it, and see of it."""

import asyncio
import os
from pathlib import Path

from vocelio.codecs import mulaw
from vocelio.engine.voice import Voice
from vocelio.gateway.speech.local.recognizer import LocalRecognition, LocalRecognizer
from vocelio.gateway.speech.local.synthesizer import LocalSynthesizer
from vocelio.gateway.speech.ports import Expectation, Heard, SpeechError

MENU = Expectation(("sales", "buy something", "billing", "my invoice", "support", "technical help"))
YES_NO = Expectation(("yes", "yeah", "yes please", "no", "no thanks"))
FRAME = 160
PAUSE = bytes([mulaw.SILENCE]) * (FRAME * 15)


class Ear:
    """One recognition and everything that it called back."""

    def __init__(self, recognizer: LocalRecognizer, expectation: Expectation) -> None:
        self.partials: list[Heard] = []
        self.any_partial = asyncio.Event()
        self.outcome: asyncio.Future[Heard] = asyncio.get_running_loop().create_future()
        self.recognition: LocalRecognition = recognizer.open(expectation, self._heard, self._failed)

    def _heard(self, heard: Heard) -> None:
        if heard.final:
            self.outcome.set_result(heard)
        else:
            self.partials.append(heard)
            self.any_partial.set()

    def _failed(self, error: SpeechError) -> None:
        self.outcome.set_exception(error)

    def feed(self, audio: bytes) -> None:
        for start in range(0, len(audio), FRAME):
            self.recognition.feed(audio[start : start + FRAME])

    async def result(self) -> Heard:
        async with asyncio.timeout(10):
            return await self.outcome


async def hear(recognizer: LocalRecognizer, audio: bytes, expectation: Expectation) -> Heard:
    ear = Ear(recognizer, expectation)
    ear.feed(PAUSE + audio + PAUSE)
    ear.recognition.finish()
    return await ear.result()


async def say(text: str, voice: str = "en-us") -> bytes:
    synthesizer = LocalSynthesizer()
    try:
        return b"".join([chunk async for chunk in synthesizer.speak(text, Voice(name=voice))])
    finally:
        await synthesizer.aclose()


def children() -> set[int]:
    """The Python processes that this one has started and not yet waited for: no servers of other tests."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, _, rest = stat.read_text().partition("(")[2].rpartition(")")
        except OSError:
            continue  # it has just ended
        if int(rest.split()[1]) == os.getpid() and name.startswith("python"):
            found.add(int(stat.parent.name))
    return found
