"""Speech recognition with ElevenLabs: one Scribe session per utterance, opened while the prompt still plays."""

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
"""Concurrent sessions, closing ones included: more than any but an enterprise's plan allows; 120 MB at worst."""

DEFAULT_TIMEOUT_SECONDS = 5.0
"""For connecting and starting the session, and for the final transcript after ``finish``."""

LOG = logging.getLogger(__name__)


class ElevenLabsRecognizer:
    """Recognizes with one account.

    The expected phrases are sent as keyterms, for which the service charges extra; a phrase that it does not accept
    (over 20 characters) is only not preferred.
    """

    def __init__(self, account: ElevenLabsSettings, *, timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS) -> None:
        self._account, self._timeout_seconds = account, timeout_seconds
        self._lazy_client = LazyClient(account, max_connections=1, timeout_seconds=timeout_seconds)
        self._recognitions: dict[asyncio.Task[None], ElevenLabsRecognition] = {}  # at most MAX_SESSIONS
        self._closed = False

    @property
    def sessions(self) -> int:
        """Number of recognitions that have a socket or may still open one."""
        return len(self._recognitions)

    async def start(self) -> None:
        """Load the SDK and verify the key. Raises SpeechError; the recognizer may still work later."""
        await self._lazy_client.verify_key()

    def open(
        self,
        hints: RecognitionHints,
        on_transcript: Callable[[Transcript], None],
        on_error: Callable[[SpeechError], None],
    ) -> ElevenLabsRecognition:
        """Open a recognition, with texts as Scribe writes them. Raises RequestNotSupported at MAX_SESSIONS."""
        if self._closed:
            raise SpeechError("ElevenLabs recognition has been closed")
        if len(self._recognitions) >= MAX_SESSIONS:
            raise RequestNotSupported(f"ElevenLabs recognition is full: {MAX_SESSIONS} concurrent sessions")
        url = realtime_protocol.session_url(self._account.base_url, hints)
        recognition = ElevenLabsRecognition(
            lambda: self._open_session(url), on_transcript, on_error, self._timeout_seconds
        )
        self._recognitions[recognition.task] = recognition
        recognition.task.add_done_callback(self._on_done)
        return recognition

    async def aclose(self) -> None:
        """End every recognition with an error, and close every socket within a second."""
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
        ) as socket:
            yield socket

    def _on_done(self, task: asyncio.Task[None]) -> None:
        del self._recognitions[task]
        if not task.cancelled() and (error := task.exception()):
            LOG.error("ElevenLabs recognition ended with an unexpected error", exc_info=error)
