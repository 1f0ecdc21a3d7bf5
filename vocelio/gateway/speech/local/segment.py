"""One segment of a text that is to be spoken, and the audio that a worker has rendered so far."""

import asyncio
from collections import deque

from vocelio.gateway.speech.interfaces import SpeechError
from vocelio.gateway.speech.local import ipc
from vocelio.gateway.speech.local.crash_ledger import input_digest


class Segment:
    """A segment of a tenant's text: a worker feeds it, the text's generator takes its audio."""

    def __init__(self, request: ipc.RenderSegment, tenant: str) -> None:
        self.request, self.tenant = request, tenant
        self.digest = input_digest(request.voice, request.text)
        self.audio_bytes = 0  # that were rendered
        self.canceled = False
        self._skipped_bytes = 0  # of another attempt: they were taken already
        self._audio: deque[bytes] = deque()  # bounded by MAX_SEGMENT_AUDIO_BYTES
        self._changed = asyncio.Event()
        self._ended = False
        self._error: SpeechError | None = None

    async def next_chunk(self) -> bytes | None:
        """Return the next audio, or None at the end. Raises SpeechError."""
        while not self._audio:
            if self._error is not None:
                raise self._error
            if self._ended:
                return None
            await self._changed.wait()
            self._changed.clear()
        return self._audio.popleft()

    def feed(self, mulaw: bytes) -> None:
        """Take audio."""
        repeated = min(len(mulaw), self._skipped_bytes)
        self._skipped_bytes -= repeated
        if len(mulaw) > repeated:
            self.audio_bytes += len(mulaw) - repeated
            if not self.canceled:
                self._audio.append(mulaw[repeated:])
                self._changed.set()

    def restart(self) -> None:
        """Prepare for being rendered once more, from the beginning."""
        self._skipped_bytes = self.audio_bytes

    def finish(self) -> None:
        """Mark the audio complete."""
        self._ended = True
        self._changed.set()

    def fail(self, error: SpeechError) -> None:
        """End with an error."""
        self._error = self._error or error
        self._changed.set()

    def cancel(self) -> None:
        """Discard the audio: nobody takes it."""
        self.canceled = True
        self._audio.clear()
