"""Recognition of one utterance by Azure, on the event loop.

It ends with the first final phrase that has a text: what is said after it would answer the next question. A phrase that
was not understood does not end it, since a cough before the answer is one.
"""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, assert_never

from vocelio.gateway.speech.azure.sdk_events import (
    Completed,
    Connected,
    Failed,
    FinalPhrase,
    Hypothesis,
    RecognitionEvent,
)
from vocelio.gateway.speech.azure.sdk_resources import ResourceLease, SdkResourceManager
from vocelio.gateway.speech.interfaces import SpeechError, Transcript

if TYPE_CHECKING:
    from vocelio.gateway.speech.azure.recognition_session import RecognitionSession

MAX_UTTERANCE_BYTES = 60 * 8000
"""One minute of mu-law."""

WRITE_BYTES = 800
"""Mu-law written to the SDK at a time: 100 ms, as much as it sends at a time. Each write releases the GIL and has to
get it back, which takes milliseconds when other threads are busy: too long for every 20 ms frame."""

CONNECT_TIMEOUT_SECONDS = 5.0
"""For connecting, from the first audio on: the SDK itself never gives up on a service that does not respond."""

FINAL_TIMEOUT_SECONDS = 2.5
"""For the final text, which takes 0.2 to 1 s."""

PARTIAL_CONFIDENCE = 0.5
"""The service gives no confidence for partial results."""


class AzureRecognition:
    """Open until its final transcript, its failure or ``close``; then the session is torn down."""

    def __init__(
        self,
        resources: SdkResourceManager,
        create_session: Callable[[Callable[[RecognitionEvent], None]], "RecognitionSession"],
        on_transcript: Callable[[Transcript], None],
        on_error: Callable[[SpeechError], None],
        on_connected: Callable[[], None],
        on_closed: Callable[["AzureRecognition"], None],
    ) -> None:
        """``create_session`` runs on a thread and takes the event callback. Raises SpeechError at the limit."""
        self._on_transcript, self._on_error = on_transcript, on_error
        self._on_connected, self._on_closed = on_connected, on_closed
        self._resources = resources
        self._loop = asyncio.get_running_loop()
        self._session: RecognitionSession | None = None
        self._unwritten = bytearray()  # under WRITE_BYTES; until there is a session, under MAX_UTTERANCE_BYTES
        self._remaining_bytes = MAX_UTTERANCE_BYTES
        self._has_audio = self._is_connected = self._finished = self._ended = False
        self._deadline: asyncio.TimerHandle | None = None
        self._lease: ResourceLease[RecognitionSession] = resources.create(lambda: create_session(self._on_event))
        self._lease.resource.add_done_callback(self._on_created)

    def feed(self, mulaw: bytes) -> None:
        if self._ended or self._finished:
            return
        if not self._has_audio:
            self._has_audio = True
            if not self._is_connected:
                self._fail_after(CONNECT_TIMEOUT_SECONDS, f"could not be reached within {CONNECT_TIMEOUT_SECONDS:g} s")
        self._remaining_bytes -= len(mulaw)
        if self._remaining_bytes < 0:
            self._finished = True
            self._loop.call_soon(
                self.fail, SpeechError(f"the utterance is longer than {MAX_UTTERANCE_BYTES // 8000} s")
            )
        else:
            self._unwritten += mulaw
            if self._session and len(self._unwritten) >= WRITE_BYTES:
                self._write(self._session)

    def finish(self) -> None:
        if self._ended or self._finished:
            return
        self._finished = True
        self._fail_after(
            FINAL_TIMEOUT_SECONDS, f"gave no text within {FINAL_TIMEOUT_SECONDS:g} s of the utterance's end"
        )
        if self._session:
            self._finish_session(self._session)

    def close(self) -> None:
        if self._ended:
            return
        self._ended = True
        self._cancel_deadline()
        self._unwritten.clear()
        self._session = None
        self._lease.release()
        self._on_closed(self)

    def fail(self, error: SpeechError) -> None:
        """End the recognition with an error, unless it has ended."""
        if not self._ended:
            self.close()
            self._on_error(error)

    def _on_created(self, resource: "asyncio.Future[RecognitionSession]") -> None:
        if self._ended:
            return
        if error := resource.exception():
            self.fail(
                error if isinstance(error, SpeechError) else SpeechError(f"Azure's SDK failed: {type(error).__name__}")
            )
            return
        self._session = resource.result()
        self._write(self._session)
        if self._finished:
            self._finish_session(self._session)

    def _write(self, session: "RecognitionSession") -> None:
        session.write(bytes(self._unwritten))
        self._unwritten.clear()

    def _finish_session(self, session: "RecognitionSession") -> None:
        self._write(session)
        self._resources.submit(session.finish)

    def _fail_after(self, seconds: float, message: str) -> None:
        self._cancel_deadline()
        self._deadline = self._loop.call_later(seconds, self.fail, SpeechError(f"Azure speech {message}"))

    def _cancel_deadline(self) -> None:
        if self._deadline:
            self._deadline.cancel()

    def _on_event(self, event: RecognitionEvent) -> None:
        """Handle an event of the session; late ones are ignored."""
        if self._ended:
            return
        match event:
            case Connected():
                self._handle_connected()
            case Hypothesis(text):
                self._on_transcript(Transcript(text, PARTIAL_CONFIDENCE, final=False))
            case FinalPhrase(text, confidence):
                if text:
                    self._deliver_final(Transcript(text, confidence, final=True))
            case Completed():
                self._handle_completed()
            case Failed(error):
                self.fail(error)
            case _:
                assert_never(event)

    def _handle_connected(self) -> None:
        self._is_connected = True
        if not self._finished:
            self._cancel_deadline()  # it was for connecting
        self._on_connected()

    def _deliver_final(self, final: Transcript) -> None:
        self.close()
        self._on_transcript(final)

    def _handle_completed(self) -> None:
        if self._finished:
            self._deliver_final(Transcript("", 0.0, final=True))
        else:
            self.fail(SpeechError("Azure speech ended the recognition before the utterance had ended"))
