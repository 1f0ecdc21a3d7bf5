"""Recognition with ElevenLabs: a session of Scribe for each utterance, opened while the prompt still plays."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from websockets.asyncio.client import ClientConnection

from vocelio.gateway.config import ElevenLabs
from vocelio.gateway.speech.elevenlabs import realtime_connection, realtime_protocol
from vocelio.gateway.speech.elevenlabs.lazy_client import Service
from vocelio.gateway.speech.elevenlabs.recognition import ElevenLabsRecognition
from vocelio.gateway.speech.interfaces import Expectation, Heard, SpeechError, Unsuitable

MAX_SESSIONS = 256
"""At once, with those that are being closed: more than any but an enterprise's plan allows; 120 MB at worst."""

PATIENCE = 5.0
"""Seconds for connecting and beginning, and for the final after ``finish``."""

_log = logging.getLogger(__name__)


class ElevenLabsRecognizer:
    """A Recognizer of one account.

    The expected phrases go along as keyterms, which the service charges extra for; a phrase that is none for it (over
    20 characters) is only not preferred.
    """

    def __init__(self, account: ElevenLabs, *, patience: float = PATIENCE) -> None:
        self._account, self._patience = account, patience
        self._service = Service(account, connections=1, wait=patience)
        self._open: dict[asyncio.Task[None], ElevenLabsRecognition] = {}  # bounded by open(): refused past MAX_SESSIONS
        self._closed = False

    @property
    def sessions(self) -> int:
        """How many recognitions have, or may yet open, a socket."""
        return len(self._open)

    async def start(self) -> None:
        """See ``Recognizer.start``: load what is needed, and see whether the key is known.

        Raises CredentialsRefused or SpeechError; the object works all the same once the reason has gone.
        """
        await self._service.check()

    def open(
        self,
        expectation: Expectation,
        heard: Callable[[Heard], None],
        failed: Callable[[SpeechError], None],
    ) -> ElevenLabsRecognition:
        """See ``Recognizer.open``. A text is as Scribe writes it. Raises Unsuitable when there are too many."""
        if self._closed:
            raise SpeechError("ElevenLabs recognition has been closed")
        if len(self._open) >= MAX_SESSIONS:
            raise Unsuitable(f"ElevenLabs recognition is full: {MAX_SESSIONS} sessions")
        url = realtime_protocol.url(self._account.base_url, expectation)
        recognition = ElevenLabsRecognition(lambda: self._session(url), heard, failed, self._patience)
        self._open[recognition.task] = recognition
        recognition.task.add_done_callback(self._on_done)
        return recognition

    async def aclose(self) -> None:
        """End every recognition with a SpeechError, and every socket within a second."""
        self._closed = True
        tasks = list(self._open)
        for recognition in self._open.values():
            recognition.fail_soon(SpeechError("ElevenLabs recognition has been closed"))
        if tasks:
            await asyncio.wait(tasks)  # each closes its socket with a deadline
        await self._service.aclose()

    @asynccontextmanager
    async def _session(self, url: str) -> AsyncIterator[ClientConnection]:
        client = await self._service.client()
        async with realtime_connection.opened(self._account, url, client.tls, self._patience) as opened:
            yield opened

    def _on_done(self, task: asyncio.Task[None]) -> None:
        del self._open[task]
        if not task.cancelled() and (error := task.exception()):
            _log.error("a recognition ended with a defect", exc_info=error)
