"""A voice for the renderer that does as it is told."""

import asyncio

from vocelio.codecs import mulaw


class FakeSynthesizer:
    """The Synthesise port: a byte for each character, and what it was asked for; it fails to order."""

    def __init__(self):
        self.requests, self.failing, self.hanging = [], {}, set()
        self.in_progress = self.max_concurrency = 0
        self.started = asyncio.Event()

    async def __call__(self, sentence, voice):
        """See Synthesise."""
        self.requests.append(sentence)
        self.in_progress += 1
        self.max_concurrency = max(self.max_concurrency, self.in_progress)
        try:
            await asyncio.sleep(0)
            if sentence in self.hanging:
                self.started.set()
                await asyncio.Event().wait()
            if problem := self.failing.get(sentence) or self.failing.get("*"):
                raise problem
            return bytes([mulaw.SILENCE_BYTE]) * len(sentence)
        finally:
            self.in_progress -= 1
