"""What the tests of every recogniser have in common: a caller's sound, and an ear that remembers."""

import asyncio

from vocelio.codecs import mulaw

FRAME = 160
PAUSE = bytes([mulaw.SILENCE]) * (FRAME * 15)


class Ear:
    """One recognition and everything that it called back."""

    def __init__(self, recognizer, expectation):
        self.partials = []
        self.any_partial = asyncio.Event()
        self.outcome = asyncio.get_running_loop().create_future()
        self.recognition = recognizer.open(expectation, self._heard, self._failed)

    def _heard(self, heard):
        if heard.final:
            self.outcome.set_result(heard)
        else:
            self.partials.append(heard)
            self.any_partial.set()

    def _failed(self, error):
        self.outcome.set_exception(error)

    def feed(self, audio):
        for start in range(0, len(audio), FRAME):
            self.recognition.feed(audio[start : start + FRAME])

    async def result(self, seconds=10):
        async with asyncio.timeout(seconds):
            return await self.outcome
