"""Providers that do as they are told, for the tests of what stands in for what."""

import asyncio

from vocelio.gateway.speech.interfaces import Transcript

SECOND_AUDIO = b"\x7e" * 8000


class ScriptedSynthesizer:
    """Speaks a second of sound a sentence, in chunks of 100 ms, as its ``does`` has it; remembers the texts.

    Of ``does`` the first is done with the first text, and so on; the last with all that follow: "well", an error, or a
    pair: so many chunks, and then "silent", or an error. "drip" is a chunk every 0.4 s.
    """

    def __init__(self, *does, byte=b"\x7e"):
        self.behaviors, self.byte = list(does) or ["well"], byte
        self.texts, self.voices = [], []
        self.open_streams = 0
        self.start_error = None

    async def start(self):
        if self.start_error:
            raise self.start_error

    async def speak(self, text, voice):
        self.texts.append(text)
        self.voices.append(voice)
        what = self.behaviors.pop(0) if len(self.behaviors) > 1 else self.behaviors[0]
        chunks, then = what if isinstance(what, tuple) else (0, what) if what != "well" else (10, "well")
        self.open_streams += 1
        try:
            for _ in range(10 if then in ("drip", "well") else chunks):
                await asyncio.sleep(0.4 if then == "drip" else 0)
                yield self.byte * 800
            if isinstance(then, Exception):
                raise then
            if then == "silent":
                await asyncio.sleep(1000)
        finally:
            self.open_streams -= 1

    async def aclose(self):
        pass


class FaultyRecognizer:
    """Understands what its ``does`` has, one after the other: a text, an error, or "..." for nothing at all.

    An error whose text begins with "open" is raised by ``open``, with "feed" it comes with the first sound.
    """

    def __init__(self, *does):
        self.behaviors = list(does)
        self.opened = []
        self.start_error = None

    async def start(self):
        if self.start_error:
            raise self.start_error

    def open(self, hints, on_transcript, on_error):
        what = self.behaviors.pop(0) if len(self.behaviors) > 1 else self.behaviors[0]
        if isinstance(what, Exception) and str(what).startswith("open"):
            raise what
        self.opened.append(FakeRecognition(what, on_transcript, on_error))
        return self.opened[-1]

    async def aclose(self):
        pass


class FakeRecognition:
    def __init__(self, what, heard, failed):
        self.what, self.heard, self.failed = what, heard, failed
        self.sound, self.closed = b"", False

    def feed(self, mulaw):
        self.sound += mulaw
        if isinstance(self.what, Exception) and str(self.what).startswith("feed"):
            asyncio.get_running_loop().call_soon(self.failed, self.what)

    def finish(self):
        loop = asyncio.get_running_loop()
        if isinstance(self.what, Exception):
            loop.call_soon(self.failed, self.what)
        elif self.what != "...":
            loop.call_later(0.1, self.heard, Transcript(self.what, 0.9, True))

    def close(self):
        self.closed = True
