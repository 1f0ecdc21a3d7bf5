"""Fake synthesizer for the prompt renderer."""

import asyncio

from vocelio.codecs import mulaw


class FakeSynthesizer:
    """Returns one byte per character and records its requests; fails or hangs for chosen sentences."""

    def __init__(self):
        self.requests, self.failing, self.hanging = [], {}, set()
        self.in_progress = self.max_concurrency = 0
        self.started = asyncio.Event()

    async def __call__(self, tenant, sentence, voice):
        self.requests.append(sentence)
        self.in_progress += 1
        self.max_concurrency = max(self.max_concurrency, self.in_progress)
        try:
            await asyncio.sleep(0)
            if sentence in self.hanging:
                self.started.set()
                await asyncio.Event().wait()
            if error := self.failing.get(sentence) or self.failing.get("*"):
                raise error
            return bytes([mulaw.SILENCE_BYTE]) * len(sentence)
        finally:
            self.in_progress -= 1
