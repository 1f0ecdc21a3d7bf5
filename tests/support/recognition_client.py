"""What the tests of every recogniser have in common: a caller's sound, and an ear that remembers."""

import asyncio

from vocelio.codecs import mulaw

FRAME_BYTES = 160
PAUSE_AUDIO = bytes([mulaw.SILENCE_BYTE]) * (FRAME_BYTES * 15)


class RecognitionClient:
    """One recognition and everything that it called back."""

    def __init__(self, recognizer, expectation):
        self.partials = []
        self.any_partial = asyncio.Event()
        self.outcome = asyncio.get_running_loop().create_future()
        self.recognition = recognizer.open(expectation, self._on_transcript, self._on_error)

    def _on_transcript(self, heard):
        if heard.final:
            self.outcome.set_result(heard)
        else:
            self.partials.append(heard)
            self.any_partial.set()

    def _on_error(self, error):
        self.outcome.set_exception(error)

    def feed(self, audio):
        for start in range(0, len(audio), FRAME_BYTES):
            self.recognition.feed(audio[start : start + FRAME_BYTES])

    async def result(self, seconds=10):
        async with asyncio.timeout(seconds):
            return await self.outcome
