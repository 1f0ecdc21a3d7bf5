"""Recognition of one utterance by Scribe: sends audio as it comes, receives partial transcripts and one final.

Both sides may end the utterance: ``finish`` commits it, and the service commits it after the silence it was configured
with; the first final with a text counts. (The service's own was measured to come half a second after that silence, so
ours is mostly first.) An empty final before ``finish`` ends nothing: it was a noise.

The service closes a session that gets no audio for about 15 s. That is no failure: the session is reopened when there
is audio, and the whole utterance is sent again, in case its beginning and the close crossed on the way.
"""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import assert_never

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from vocelio.codecs import mulaw
from vocelio.gateway.speech.elevenlabs import errors, realtime_protocol
from vocelio.gateway.speech.interfaces import SpeechError, Transcript

SEND_BYTES = 800
"""100 ms of mu-law in a message, the least that the service recommends."""

MAX_SEND_BYTES = 8000
"""1 s of mu-law in a message, the most that the service recommends."""

MAX_UTTERANCE_BYTES = 60 * mulaw.SAMPLE_RATE
"""One minute of mu-law, 0.5 MB, buffered until the end of the utterance."""

MAX_RETRIES = 1
"""How often an utterance is sent again when the service ends the session during speech."""

EMPTY_RESULT_DELAY_SECONDS = 0.5
"""Delay of an empty final: another one with a text may follow, up to 0.4 s after a commit, as others measured."""

FINAL_CONFIDENCE, PARTIAL_CONFIDENCE = 0.9, 0.5
"""The service gives no confidences."""

SessionOpener = Callable[[], AbstractAsyncContextManager[ClientConnection]]


class ElevenLabsRecognition:
    """Open until its final transcript, its failure or ``close``. ``task`` ends when its socket is closed."""

    def __init__(
        self,
        open_session: SessionOpener,
        on_transcript: Callable[[Transcript], None],
        on_error: Callable[[SpeechError], None],
        timeout_seconds: float,
    ) -> None:
        self._open_session, self._timeout_seconds = open_session, timeout_seconds
        self._on_transcript, self._on_error = on_transcript, on_error
        self._audio = bytearray()
        self._sent_bytes = 0  # in the current session
        self._committed = False  # in the current session
        self._last_partial = ""
        self._finished = self._ended = False
        self._changed = asyncio.Event()
        self._deadline: asyncio.TimerHandle | None = None
        self.task = asyncio.get_running_loop().create_task(self._run())

    def feed(self, mulaw: bytes) -> None:
        if self._ended or self._finished:
            return
        self._audio += mulaw
        if len(self._audio) > MAX_UTTERANCE_BYTES:
            self.fail_soon(SpeechError(f"the utterance is longer than {MAX_UTTERANCE_BYTES // 8000} s"))
        elif len(self._audio) - self._sent_bytes >= SEND_BYTES:
            self._changed.set()

    def finish(self) -> None:
        if self._ended or self._finished:
            return
        self._finished = True
        self._changed.set()
        loop = asyncio.get_running_loop()
        if not self._audio:
            loop.call_soon(self._deliver_empty)
        timeout = SpeechError(f"ElevenLabs gave no text within {self._timeout_seconds:g} s")
        self._deadline = loop.call_later(self._timeout_seconds, self._fail, timeout)

    def close(self) -> None:
        if not self._ended:
            self._end()
            self.task.cancel()

    def fail_soon(self, error: SpeechError) -> None:
        """Fail in the loop's next iteration, unless it ends otherwise before."""
        self._finished = True
        asyncio.get_running_loop().call_soon(self._fail, error)

    def _end(self) -> None:
        self._ended = True
        self._audio.clear()
        if self._deadline is not None:
            self._deadline.cancel()

    def _fail(self, error: SpeechError) -> None:
        if not self._ended:
            self._end()
            self.task.cancel()
            self._on_error(error)

    def _deliver_final(self, text: str) -> None:
        if not self._ended:
            self._end()
            self._on_transcript(Transcript(text, FINAL_CONFIDENCE if text else 0.0, final=True))

    def _deliver_empty(self) -> None:
        self._deliver_final("")
        self.task.cancel()

    def _deliver_empty_later(self) -> None:
        """Handle an empty final: of the whole utterance, or of a noise that the service committed before it."""
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = asyncio.get_running_loop().call_later(EMPTY_RESULT_DELAY_SECONDS, self._deliver_empty)

    async def _run(self) -> None:
        retries = 0
        try:
            while not self._ended and retries <= MAX_RETRIES:
                self._sent_bytes, self._committed = 0, False
                async with self._open_session() as socket:
                    await self._run_session(socket)
                retries += bool(self._sent_bytes)
                if not self._sent_bytes:
                    await self._changed.wait()
            self._fail(SpeechError("ElevenLabs ended the recognition during speech"))
        except SpeechError as error:
            self._fail(error)

    async def _run_session(self, socket: ClientConnection) -> None:
        """Run one session until the final transcript, or until the service ends the session without an error."""
        sender = asyncio.create_task(self._send_audio(socket))
        try:
            async for received in socket:
                if self._handle_message(realtime_protocol.parse_message(received)):
                    return
        except ConnectionClosed:
            if self._sent_bytes:
                raise  # during speech; an idle connection may be cut by any middlebox
        finally:
            sender.cancel()

    def _handle_message(self, message: realtime_protocol.ServerMessage | None) -> bool:
        """Handle a message; return whether the session is over."""
        match message:
            case realtime_protocol.TranscriptMessage(text, committed=False):
                if text and text != self._last_partial:
                    self._last_partial = text
                    self._on_transcript(Transcript(text, PARTIAL_CONFIDENCE, final=False))
            case realtime_protocol.TranscriptMessage(text):
                if text:
                    self._deliver_final(text)
                elif self._committed:
                    self._deliver_empty_later()
            case realtime_protocol.CommitThrottled() | realtime_protocol.SessionClosed() if self._committed:
                self._deliver_final("")  # the service had just committed everything, or found no speech
            case realtime_protocol.SessionClosed():
                return True
            case realtime_protocol.SessionFailed(name):
                raise errors.from_message(name)
            case realtime_protocol.CommitThrottled() | realtime_protocol.SessionStarted() | None:
                pass
            case _ as never:
                assert_never(never)
        return self._ended

    async def _send_audio(self, socket: ClientConnection) -> None:
        """Send audio as it comes. A closed socket is handled by the receiver."""
        try:
            while True:
                self._changed.clear()
                while len(self._audio) - self._sent_bytes >= SEND_BYTES or (self._finished and not self._committed):
                    await socket.send(self._next_message(), text=True)
                await self._changed.wait()
        except ConnectionClosed:
            return

    def _next_message(self) -> bytes:
        """Return the next audio message; the last one commits."""
        audio = bytes(self._audio[self._sent_bytes : self._sent_bytes + MAX_SEND_BYTES])
        self._sent_bytes += len(audio)
        if self._finished and self._sent_bytes == len(self._audio):
            self._committed = True
            audio += bytes([mulaw.SILENCE_BYTE]) * max(0, realtime_protocol.MIN_COMMIT_BYTES - self._sent_bytes)
        return realtime_protocol.audio_message(audio, self._committed)
