"""Recognition by Azure: it hears anything, and what a flow expects better than the rest.

A recognition connects when it is opened, and what it is fed goes to the SDK, which keeps it until it is connected.
The service looks for the end of the utterance by itself, and may find it before ``finish`` says so.
"""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from vocelio.gateway.config import AzureSettings
from vocelio.gateway.speech.azure.recognition import AzureRecognition
from vocelio.gateway.speech.azure.sdk_events import RecognitionEvent
from vocelio.gateway.speech.azure.sdk_resources import SdkResourceManager
from vocelio.gateway.speech.interfaces import RecognitionHints, RequestNotSupported, SpeechError, Transcript

if TYPE_CHECKING:
    from vocelio.gateway.speech.azure.recognition_session import RecognitionSession

DEFAULT_MAX_SESSIONS = 100
"""Recognitions at once: what the service allows a subscription unless more is asked for."""

MAX_PHRASES = 500
"""Phrases in one expectation: what the service takes."""

MAX_PHRASE_LENGTH = 200
"""Characters in a phrase."""

START_TIMEOUT_SECONDS = 5.0
"""For the first connection: name, TLS and key take 0.3 s, and the SDK tries again after a second."""


class AzureRecognizer:
    """A Recognizer on the real SDK, with at most ``limit`` recognitions at once. Used on one event loop."""

    def __init__(self, account: AzureSettings, max_sessions: int = DEFAULT_MAX_SESSIONS) -> None:
        self._account = account
        self._resources = SdkResourceManager("azure-recognition", max_sessions)
        self._recognitions: set[AzureRecognition] = set()  # at most ``limit``

    @property
    def sessions(self) -> int:
        """Recognitions that are open."""
        return self._resources.active

    @property
    def stuck(self) -> int:
        """Sessions that the SDK has not let go of in ``upkeep.STUCK_SECONDS``."""
        return self._resources.stuck

    async def start(self) -> None:
        """Load the SDK and connect once. Raises CredentialsRefused or SpeechError; it may work later all the same."""
        told = asyncio.Event()
        failures: list[SpeechError] = []

        def failed(error: SpeechError) -> None:
            failures.append(error)
            told.set()

        recognition = self._open(RecognitionHints(()), lambda _: None, failed, on_connected=told.set)
        try:
            async with asyncio.timeout(START_TIMEOUT_SECONDS):
                await told.wait()
        except TimeoutError:
            raise SpeechError(f"Azure speech cannot be reached in {START_TIMEOUT_SECONDS:.0f} s") from None
        finally:
            recognition.close()
        if failures:
            raise failures[0]

    def open(
        self,
        hints: RecognitionHints,
        on_transcript: Callable[[Transcript], None],
        on_error: Callable[[SpeechError], None],
    ) -> AzureRecognition:
        """See ``Recognizer.open``. A text is written as for reading: "Sales, please." or "1234.".

        Raises Unsuitable when the phrases are too many or too long, SpeechError when too many are open.
        """
        if len(hints.phrases) > MAX_PHRASES:
            raise RequestNotSupported(f"{len(hints.phrases)} phrases: Azure speech takes {MAX_PHRASES}")
        if any(len(phrase) > MAX_PHRASE_LENGTH for phrase in hints.phrases):
            raise RequestNotSupported(f"a phrase of more than {MAX_PHRASE_LENGTH} characters")
        return self._open(hints, on_transcript, on_error, on_connected=lambda: None)

    async def aclose(self) -> None:
        """End every recognition with a failure; see ``Recognizer.aclose``. Takes a second when the SDK hangs."""
        for recognition in self._recognitions.copy():
            recognition.fail(SpeechError("Azure speech has been closed"))
        await self._resources.aclose()

    def _open(
        self,
        hints: RecognitionHints,
        on_transcript: Callable[[Transcript], None],
        on_error: Callable[[SpeechError], None],
        on_connected: Callable[[], None],
    ) -> AzureRecognition:
        account, loop = self._account, asyncio.get_running_loop()

        def build(happened: Callable[[RecognitionEvent], None]) -> "RecognitionSession":
            return _create_session(account, hints, happened, loop)

        recognition = AzureRecognition(
            self._resources, build, on_transcript, on_error, on_connected, self._recognitions.discard
        )
        self._recognitions.add(recognition)
        return recognition


def _create_session(
    account: AzureSettings,
    hints: RecognitionHints,
    on_event: Callable[[RecognitionEvent], None],
    loop: asyncio.AbstractEventLoop,
) -> "RecognitionSession":
    from vocelio.gateway.speech.azure.recognition_session import (
        RecognitionSession,  # here, on a thread: the SDK takes 0.25 s to import
    )

    session = RecognitionSession(on_event, loop)
    try:
        session.open(account, hints)
    except BaseException:
        session.tear_down()
        raise
    return session
