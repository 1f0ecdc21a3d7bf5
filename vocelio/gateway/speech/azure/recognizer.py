"""Speech recognition with Azure: free text, with a preference for the phrases that a flow expects.

A recognition connects when it is opened; the SDK buffers its audio until it is connected. The service detects the end
of the utterance itself, and may do so before ``finish``.
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
"""Concurrent recognitions: the service's default limit of a subscription."""

MAX_PHRASES = 500
"""Phrases per recognition, a limit of the service."""

MAX_PHRASE_LENGTH = 200
"""Characters per phrase."""

START_TIMEOUT_SECONDS = 5.0
"""For the first connection: DNS, TLS and authentication take 0.3 s, and the SDK retries after a second."""


class AzureRecognizer:
    """Recognizes with the SDK, at most ``max_sessions`` utterances at once. Used on one event loop."""

    def __init__(self, account: AzureSettings, max_sessions: int = DEFAULT_MAX_SESSIONS) -> None:
        self._account = account
        self._resources = SdkResourceManager("azure-recognition", max_sessions)
        self._recognitions: set[AzureRecognition] = set()  # at most ``max_sessions``

    @property
    def sessions(self) -> int:
        """Number of open recognitions."""
        return self._resources.active

    @property
    def stuck(self) -> int:
        """Number of sessions that the SDK has not torn down within ``sdk_resources.STUCK_AFTER_SECONDS``."""
        return self._resources.stuck

    async def start(self) -> None:
        """Load the SDK and connect once. Raises SpeechError; the recognizer may still work later."""
        done = asyncio.Event()
        failures: list[SpeechError] = []

        def on_error(error: SpeechError) -> None:
            failures.append(error)
            done.set()

        recognition = self._open(RecognitionHints(()), lambda _: None, on_error, on_connected=done.set)
        try:
            async with asyncio.timeout(START_TIMEOUT_SECONDS):
                await done.wait()
        except TimeoutError:
            raise SpeechError(f"Azure speech could not be reached within {START_TIMEOUT_SECONDS:g} s") from None
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
        """Open a recognition. Its texts have punctuation and digits: "Sales, please." or "1234.".

        Raises RequestNotSupported if there are too many recognitions, or too many or too long phrases.
        """
        if len(hints.phrases) > MAX_PHRASES:
            raise RequestNotSupported(f"{len(hints.phrases)} phrases; Azure speech takes at most {MAX_PHRASES}")
        if any(len(phrase) > MAX_PHRASE_LENGTH for phrase in hints.phrases):
            raise RequestNotSupported(f"a phrase is longer than {MAX_PHRASE_LENGTH} characters")
        return self._open(hints, on_transcript, on_error, on_connected=lambda: None)

    async def aclose(self) -> None:
        """End every recognition with an error. Takes a second if the SDK hangs."""
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

        def create_session(on_event: Callable[[RecognitionEvent], None]) -> "RecognitionSession":
            return _create_session(account, hints, on_event, loop)

        recognition = AzureRecognition(
            self._resources, create_session, on_transcript, on_error, on_connected, self._recognitions.discard
        )
        self._recognitions.add(recognition)
        return recognition


def _create_session(
    account: AzureSettings,
    hints: RecognitionHints,
    on_event: Callable[[RecognitionEvent], None],
    loop: asyncio.AbstractEventLoop,
) -> "RecognitionSession":
    # On a thread: importing the SDK takes 0.25 s.
    from vocelio.gateway.speech.azure.recognition_session import RecognitionSession

    session = RecognitionSession(on_event, loop)
    try:
        session.open(account, hints)
    except BaseException:
        session.tear_down()
        raise
    return session
