"""Audio of one text from Azure, on the event loop: a bounded buffer between the SDK's events and the consumer."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from typing import assert_never

from vocelio.codecs import mulaw
from vocelio.gateway.speech.azure.sdk_events import AudioChunk, Completed, Failed
from vocelio.gateway.speech.interfaces import SpeechError

MAX_LAG_SECONDS = 3.0
"""How far the service may lag behind playback: beyond that the caller hears a gap."""

MAX_AUDIO_BYTES = 600 * mulaw.SAMPLE_RATE
"""Ten minutes of one text's audio, where the service itself cuts a text off."""


class SynthesisStream:
    """The audio of one text. Its buffer is bounded by MAX_AUDIO_BYTES."""

    def __init__(self) -> None:
        self._pending: deque[bytes] = deque()
        self._received_bytes = 0
        self._error: SpeechError | None = None
        self._changed = asyncio.Event()
        self._complete = False

    def on_event(self, event: AudioChunk | Completed | Failed) -> None:
        """Handle an event of the connection."""
        match event:
            case AudioChunk(chunk):
                self._append(chunk)
            case Completed():
                self._complete = True
            case Failed(error):
                self.fail(error)
            case _:
                assert_never(event)
        self._changed.set()

    def fail(self, error: SpeechError) -> None:
        """End the stream with an error, after the audio that has come."""
        self._error = self._error or error
        self._changed.set()

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """Yield each chunk as it comes. Raises SpeechError, also if the service is too slow."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + MAX_LAG_SECONDS
        while True:
            while self._pending:
                yield self._pending.popleft()
            if self._error:
                raise self._error
            if self._complete:
                return
            try:
                async with asyncio.timeout_at(deadline + self._received_bytes / mulaw.SAMPLE_RATE):
                    await self._changed.wait()
            except TimeoutError:
                raise SpeechError(f"Azure speech: its audio is {MAX_LAG_SECONDS:g} s late") from None
            self._changed.clear()

    def _append(self, audio: bytes) -> None:
        self._received_bytes += len(audio)
        if self._received_bytes > MAX_AUDIO_BYTES:
            self.fail(SpeechError(f"Azure speech: the audio is longer than {MAX_AUDIO_BYTES // mulaw.SAMPLE_RATE} s"))
        elif audio:
            self._pending.append(audio)
