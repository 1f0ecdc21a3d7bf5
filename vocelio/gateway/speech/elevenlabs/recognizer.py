"""Recognition with ElevenLabs: a session of Scribe for each utterance, opened while the prompt still plays."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from websockets.asyncio.client import ClientConnection

from vocelio.gateway.config import ElevenLabsSettings
from vocelio.gateway.speech.elevenlabs import realtime_connection, realtime_protocol
from vocelio.gateway.speech.elevenlabs.lazy_client import LazyClient
from vocelio.gateway.speech.elevenlabs.recognition import ElevenLabsRecognition
from vocelio.gateway.speech.interfaces import RecognitionHints, RequestNotSupported, SpeechError, Transcript

MAX_SESSIONS = 256
"""At once, with those that are being closed: more than any but an enterprise's plan allows; 120 MB at worst."""

DEFAULT_TIMEOUT_SECONDS = 5.0
"""Seconds for connecting and beginning, and for the final after ``finish``."""

LOG = logging.getLogger(__name__)


class ElevenLabsRecognizer:
    """A Recognizer of one account.

    The expected phrases go along as keyterms, which the service charges extra for; a phrase that is none for it (over
    20 characters) is only not preferred.
    """

    def __init__(self, account: ElevenLabsSettings, *, timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS) -> None:
        self._account, self._timeout_seconds = account, timeout_seconds
        self._lazy_client = LazyClient(account, max_connections=1, timeout_seconds=timeout_seconds)
        self._recognitions: dict[
            asyncio.Task[None], ElevenLabsRecognition
        ] = {}  # bounded by open(): refused past MAX_SESSIONS
        self._closed = False

    @property
    def sessions(self) -> int:
        """How many recognitions have, or may yet open, a socket."""
        return len(self._recognitions)

    async def start(self) -> None:
        """See ``Recognizer.start``: load what is needed, and see whether the key is known.

        Raises CredentialsRefused or SpeechError; the object works all the same once the reason has gone.
        """
        await self._lazy_client.verify_key()

    def open(
        self,
        hints: RecognitionHints,
        on_transcript: Callable[[Transcript], None],
        on_error: Callable[[SpeechError], None],
    ) -> ElevenLabsRecognition:
        """See ``Recognizer.open``. A text is as Scribe writes it. Raises Unsuitable when there are too many."""
        if self._closed:
            raise SpeechError("ElevenLabs recognition has been closed")
        if len(self._recognitions) >= MAX_SESSIONS:
            raise RequestNotSupported(f"ElevenLabs recognition is full: {MAX_SESSIONS} sessions")
        url = realtime_protocol.session_url(self._account.base_url, hints)
        recognition = ElevenLabsRecognition(
            lambda: self._open_session(url), on_transcript, on_error, self._timeout_seconds
        )
        self._recognitions[recognition.task] = recognition
        recognition.task.add_done_callback(self._on_done)
        return recognition

    async def aclose(self) -> None:
        """End every recognition with a SpeechError, and every socket within a second."""
        self._closed = True
        tasks = list(self._recognitions)
        for recognition in self._recognitions.values():
            recognition.fail_soon(SpeechError("ElevenLabs recognition has been closed"))
        if tasks:
            await asyncio.wait(tasks)  # each closes its socket with a deadline
        await self._lazy_client.aclose()

    @asynccontextmanager
    async def _open_session(self, url: str) -> AsyncIterator[ClientConnection]:
        client = await self._lazy_client.get()
        async with realtime_connection.open_session(
            self._account, url, client.ssl_context, self._timeout_seconds
        ) as opened:
            yield opened

    def _on_done(self, task: asyncio.Task[None]) -> None:
        del self._recognitions[task]
        if not task.cancelled() and (error := task.exception()):
            LOG.error("a recognition ended with a defect", exc_info=error)
