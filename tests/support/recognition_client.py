"""Client of a recognizer in tests, which records its callbacks."""

import asyncio

from vocelio.codecs import mulaw

FRAME_BYTES = 160
PAUSE_AUDIO = bytes([mulaw.SILENCE_BYTE]) * (FRAME_BYTES * 15)


class RecognitionClient:
    """One recognition and its callbacks."""

    def __init__(self, recognizer, hints):
        self.partials = []
        self.any_partial = asyncio.Event()
        self.outcome = asyncio.get_running_loop().create_future()
        self.recognition = recognizer.open(hints, self._on_transcript, self._on_error)

    def _on_transcript(self, transcript):
        if transcript.final:
            self.outcome.set_result(transcript)
        else:
            self.partials.append(transcript)
            self.any_partial.set()

    def _on_error(self, error):
        self.outcome.set_exception(error)

    def feed(self, audio):
        for start in range(0, len(audio), FRAME_BYTES):
            self.recognition.feed(audio[start : start + FRAME_BYTES])

    async def result(self, seconds=10):
        async with asyncio.timeout(seconds):
            return await self.outcome
