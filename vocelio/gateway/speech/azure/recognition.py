"""One utterance being recognised by Azure, as the event loop sees it.

It ends with the first text that the service is sure of: what is said behind that would answer the next question.
A phrase that was not understood does not end it, for a cough before the answer is one.
"""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, assert_never

from vocelio.gateway.speech.azure.sdk_events import Connected, Ended, Failed, Hypothesis, Phrase, RecognitionEvent
from vocelio.gateway.speech.azure.sdk_resources import Place, Upkeep
from vocelio.gateway.speech.interfaces import Heard, SpeechError

if TYPE_CHECKING:
    from vocelio.gateway.speech.azure.recognition_session import Session

MAX_UTTERANCE = 60 * 8000
"""Bytes of mu-law in one utterance: a minute."""

WRITE_BYTES = 800
"""Mu-law handed to the SDK at a time: the 100 ms that it sends at a time. Each call gives the interpreter's lock
away and has to get it back, which takes milliseconds when other threads are busy: too long for every 20 ms frame."""

CONNECT_SECONDS = 5.0
"""For the connection, from the first sound on: the SDK itself never gives up on a service that does not answer."""

FINAL_SECONDS = 2.5
"""For the final text, which takes 0.2 to 1 s. A call takes the recogniser for dead after 3 s."""

PARTIAL_CONFIDENCE = 0.5
"""The service gives none for what it may yet change its mind about."""


class AzureRecognition:
    """A Recognition, open until its final, its failure or ``close``; the session is torn down then."""

    def __init__(
        self,
        upkeep: Upkeep,
        build: Callable[[Callable[[RecognitionEvent], None]], "Session"],
        heard: Callable[[Heard], None],
        failed: Callable[[SpeechError], None],
        connected: Callable[[], None],
        gone: Callable[["AzureRecognition"], None],
    ) -> None:
        """``build`` makes the session, given whom to tell of its events. Raises SpeechError when there is no room."""
        self._heard, self._failed, self._connected, self._gone = heard, failed, connected, gone
        self._upkeep = upkeep
        self._loop = asyncio.get_running_loop()
        self._session: Session | None = None
        self._unwritten = bytearray()  # under WRITE_BYTES, or until there is a session within MAX_UTTERANCE
        self._room = MAX_UTTERANCE
        self._fed = self._reached = self._finished = self._ended = False
        self._deadline: asyncio.TimerHandle | None = None
        self._place: Place[Session] = upkeep.make(lambda: build(self._happened))
        self._place.made.add_done_callback(self._made)

    def feed(self, mulaw: bytes) -> None:
        """See ``Recognition.feed``: fails past MAX_UTTERANCE."""
        if self._ended or self._finished:
            return
        if not self._fed:
            self._fed = True
            if not self._reached:
                self._fail_after(CONNECT_SECONDS, "cannot be reached in time")
        self._room -= len(mulaw)
        if self._room < 0:
            self._finished = True
            self._loop.call_soon(self.fail, SpeechError(f"an utterance of more than {MAX_UTTERANCE // 8000} s"))
        else:
            self._unwritten += mulaw
            if self._session and len(self._unwritten) >= WRITE_BYTES:
                self._write(self._session)

    def finish(self) -> None:
        """See ``Recognition.finish``."""
        if self._ended or self._finished:
            return
        self._finished = True
        self._fail_after(FINAL_SECONDS, "gave no final text in time")
        if self._session:
            self._finish(self._session)

    def close(self) -> None:
        """See ``Recognition.close``."""
        if self._ended:
            return
        self._ended = True
        self._cancel_deadline()
        self._unwritten.clear()
        self._session = None
        self._place.leave()
        self._gone(self)

    def fail(self, error: SpeechError) -> None:
        """End it with a failure, unless it has ended."""
        if not self._ended:
            self.close()
            self._failed(error)

    def _made(self, made: "asyncio.Future[Session]") -> None:
        if self._ended:
            return
        if error := made.exception():
            self.fail(error if isinstance(error, SpeechError) else SpeechError(f"Azure's SDK: {type(error).__name__}"))
            return
        self._session = made.result()
        self._write(self._session)
        if self._finished:
            self._finish(self._session)

    def _write(self, session: "Session") -> None:
        session.write(bytes(self._unwritten))
        self._unwritten.clear()

    def _finish(self, session: "Session") -> None:
        self._write(session)
        self._upkeep.begin(session.finish)

    def _fail_after(self, seconds: float, problem: str) -> None:
        self._cancel_deadline()
        self._deadline = self._loop.call_later(seconds, self.fail, SpeechError(f"Azure speech {problem}"))

    def _cancel_deadline(self) -> None:
        if self._deadline:
            self._deadline.cancel()

    def _happened(self, event: RecognitionEvent) -> None:
        """From the session; late ones are nobody's any more."""
        if self._ended:
            return
        match event:
            case Connected():
                self._reach()
            case Hypothesis(text):
                self._heard(Heard(text, PARTIAL_CONFIDENCE, final=False))
            case Phrase(text, confidence):
                if text:
                    self._give(Heard(text, confidence, final=True))
            case Ended():
                self._end()
            case Failed(error):
                self.fail(error)
            case _:
                assert_never(event)

    def _reach(self) -> None:
        self._reached = True
        if not self._finished:
            self._cancel_deadline()  # it was for this
        self._connected()

    def _give(self, final: Heard) -> None:
        self.close()
        self._heard(final)

    def _end(self) -> None:
        if self._finished:
            self._give(Heard("", 0.0, final=True))
        else:
            self.fail(SpeechError("Azure speech ended the recognition by itself"))
