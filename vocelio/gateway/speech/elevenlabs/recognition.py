"""One utterance heard by Scribe: its sound goes out as it comes, partials come back, and one final.

Both sides may end the utterance: ``finish`` commits it, and the service commits it after the silence that it was
told; whichever final with a text comes first is the utterance's. (The service's own was measured to come half a
second behind that silence, so ours mostly is the first.) An empty one before ``finish`` ends nothing: it was a noise.

The service closes a session that gets no sound for some 15 s. That is no failure: the session is opened again
when there is sound, and all of the utterance is sent again, in case the end crossed its beginning on the way.
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
"""Bytes of mu-law gathered before they are sent, 100 ms, as the service recommends at the least."""

MAX_SEND_BYTES = 8000
"""Bytes in one message, 1 s: as it recommends at the most."""

MAX_UTTERANCE_BYTES = 60 * mulaw.SAMPLE_RATE
"""Bytes of mu-law in one utterance, all kept until its end: a minute, half a MB."""

MAX_RETRIES = 1
"""How often an utterance is sent again, to a service that ends its sessions in mid-speech."""

EMPTY_RESULT_DELAY_SECONDS = 0.5
"""For which an empty text waits for another one, which comes 0.4 s after a commit at the latest, as others measured."""

FINAL_CONFIDENCE, PARTIAL_CONFIDENCE = 0.9, 0.5
"""The confidence of a final and of a partial: the service tells none for what it commits."""

SessionOpener = Callable[[], AbstractAsyncContextManager[ClientConnection]]


class ElevenLabsRecognition:
    """One utterance, open until its final, its failure or ``close``. ``task`` ends when its socket is closed."""

    def __init__(
        self,
        open_session: SessionOpener,
        on_transcript: Callable[[Transcript], None],
        on_error: Callable[[SpeechError], None],
        timeout_seconds: float,
    ) -> None:
        self._open_session, self._on_transcript, self._on_error, self._timeout_seconds = (
            open_session,
            on_transcript,
            on_error,
            timeout_seconds,
        )
        self._audio = bytearray()
        self._sent_bytes = 0  # of it, in the present session
        self._committed = False  # in the present session
        self._last_partial = ""
        self._finished = self._ended = False
        self._changed = asyncio.Event()
        self._deadline: asyncio.TimerHandle | None = None
        self.task = asyncio.get_running_loop().create_task(self._run())

    def feed(self, mulaw: bytes) -> None:
        """See ``Recognition.feed``: fails past MAX_UTTERANCE."""
        if self._ended or self._finished:
            return
        self._audio += mulaw
        if len(self._audio) > MAX_UTTERANCE_BYTES:
            self.fail_soon(SpeechError(f"an utterance of more than {MAX_UTTERANCE_BYTES // 8000} s"))
        elif len(self._audio) - self._sent_bytes >= SEND_BYTES:
            self._changed.set()

    def finish(self) -> None:
        """See ``Recognition.finish``."""
        if self._ended or self._finished:
            return
        self._finished = True
        self._changed.set()
        loop = asyncio.get_running_loop()
        if not self._audio:
            loop.call_soon(self._deliver_empty)
        late = SpeechError(f"ElevenLabs gave no text within {self._timeout_seconds:g} s")
        self._deadline = loop.call_later(self._timeout_seconds, self._fail, late)

    def close(self) -> None:
        """See ``Recognition.close``."""
        if not self._ended:
            self._end()
            self.task.cancel()

    def fail_soon(self, error: SpeechError) -> None:
        """Fail on the loop's next turn, unless something else happens first."""
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
        """The final."""
        if not self._ended:
            self._end()
            self._on_transcript(Transcript(text, FINAL_CONFIDENCE if text else 0.0, final=True))

    def _deliver_empty(self) -> None:
        self._deliver_final("")
        self.task.cancel()

    def _deliver_empty_later(self) -> None:
        """An empty text has come: of all that was said, or of a noise before it that the service had ended itself."""
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = asyncio.get_running_loop().call_later(EMPTY_RESULT_DELAY_SECONDS, self._deliver_empty)

    async def _run(self) -> None:
        repeats = 0
        try:
            while not self._ended and repeats <= MAX_RETRIES:
                self._sent_bytes, self._committed = 0, False
                async with self._open_session() as socket:
                    await self._run_session(socket)
                repeats += bool(self._sent_bytes)
                if not self._sent_bytes:
                    await self._changed.wait()
            self._fail(SpeechError("ElevenLabs ended the recognition in mid-speech"))
        except SpeechError as error:
            self._fail(error)

    async def _run_session(self, socket: ClientConnection) -> None:
        """Until the final, or until the service has ended the session without anything being wrong."""
        sending = asyncio.create_task(self._send_audio(socket))
        try:
            async for received in socket:
                if self._handle_message(realtime_protocol.parse_message(received)):
                    return
        except ConnectionClosed:
            if self._sent_bytes:
                raise  # in mid-speech; an idle connection may be cut on its way by anybody
        finally:
            sending.cancel()

    def _handle_message(self, message: realtime_protocol.ServerMessage | None) -> bool:
        """Whether the session is over."""
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
                self._deliver_final("")  # the service had just committed all there was, or found no speech in it
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
        """What has been fed and what will be. A socket that is closed is the reader's affair."""
        try:
            while True:
                self._changed.clear()
                while len(self._audio) - self._sent_bytes >= SEND_BYTES or (self._finished and not self._committed):
                    await socket.send(self._next_message(), text=True)
                await self._changed.wait()
        except ConnectionClosed:
            return

    def _next_message(self) -> bytes:
        """The next message; the last one commits."""
        audio = bytes(self._audio[self._sent_bytes : self._sent_bytes + MAX_SEND_BYTES])
        self._sent_bytes += len(audio)
        if self._finished and self._sent_bytes == len(self._audio):
            self._committed = True
            audio += bytes([mulaw.SILENCE_BYTE]) * max(0, realtime_protocol.MIN_COMMIT_BYTES - self._sent_bytes)
        return realtime_protocol.audio_message(audio, self._committed)
