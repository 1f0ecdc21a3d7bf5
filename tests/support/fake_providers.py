"""Fake speech providers with scripted behaviors, for tests of the fallbacks."""

import asyncio

from vocelio.gateway.speech.interfaces import Transcript

SECOND_AUDIO = b"\x7e" * 8000


class ScriptedSynthesizer:
    """Speaks one second of audio per sentence, in chunks of 100 ms, with scripted behaviors; records the texts.

    The first behavior is for the first text, and so on; the last one is repeated. A behavior is "well", an error,
    "drip" (a chunk every 0.4 s), "silent", or a pair: a number of chunks, and then "silent" or an error.
    """

    def __init__(self, *behaviors, byte=b"\x7e"):
        self.behaviors, self.byte = list(behaviors) or ["well"], byte
        self.texts, self.voices = [], []
        self.open_streams = 0
        self.start_error = None

    async def start(self):
        if self.start_error:
            raise self.start_error

    async def speak(self, text, voice, tenant=""):
        self.texts.append(text)
        self.voices.append(voice)
        behavior = self.behaviors.pop(0) if len(self.behaviors) > 1 else self.behaviors[0]
        chunks, then = (
            behavior if isinstance(behavior, tuple) else (0, behavior) if behavior != "well" else (10, "well")
        )
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
    """Recognizes with scripted behaviors, one per utterance: a text, an error, or "..." for no response.

    An error whose text begins with "open" is raised by ``open``; one with "feed" follows the first audio.
    """

    def __init__(self, *behaviors):
        self.behaviors = list(behaviors)
        self.opened = []
        self.start_error = None

    async def start(self):
        if self.start_error:
            raise self.start_error

    def open(self, hints, on_transcript, on_error):
        behavior = self.behaviors.pop(0) if len(self.behaviors) > 1 else self.behaviors[0]
        if isinstance(behavior, Exception) and str(behavior).startswith("open"):
            raise behavior
        self.opened.append(FakeRecognition(behavior, on_transcript, on_error))
        return self.opened[-1]

    async def aclose(self):
        pass


class FakeRecognition:
    def __init__(self, behavior, on_transcript, on_error):
        self.behavior, self.on_transcript, self.on_error = behavior, on_transcript, on_error
        self.audio, self.closed = b"", False

    def feed(self, mulaw):
        self.audio += mulaw
        if isinstance(self.behavior, Exception) and str(self.behavior).startswith("feed"):
            asyncio.get_running_loop().call_soon(self.on_error, self.behavior)

    def finish(self):
        loop = asyncio.get_running_loop()
        if isinstance(self.behavior, Exception):
            loop.call_soon(self.on_error, self.behavior)
        elif self.behavior != "...":
            loop.call_later(0.1, self.on_transcript, Transcript(self.behavior, 0.9, True))

    def close(self):
        self.closed = True
