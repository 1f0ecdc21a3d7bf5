"""Events of the SDK: its callbacks and errors, turned into a small closed set that is posted to the event loop.

The service's error texts are never passed on, since they may quote the request, which contains what a caller said or
hears. Only a status code is kept of them.
"""

import asyncio
import re
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from vocelio.gateway.speech.azure.daemon_pool import call_soon_safe
from vocelio.gateway.speech.interfaces import AuthenticationFailed, RequestNotSupported, SpeechError


class Connected(msgspec.Struct, frozen=True):
    """The service has accepted the connection and the key."""


class Disconnected(msgspec.Struct, frozen=True):
    """The connection has ended, closed by either side."""


class Hypothesis(msgspec.Struct, frozen=True):
    """Partial text of a phrase."""

    text: str


class FinalPhrase(msgspec.Struct, frozen=True):
    """Final text of a phrase; empty if it was not understood."""

    text: str
    confidence: float


class AudioChunk(msgspec.Struct, frozen=True):
    """The next mu-law audio of a synthesis."""

    mulaw: bytes


class Completed(msgspec.Struct, frozen=True):
    """All audio has been recognized, or the text has been spoken in full."""


class Failed(msgspec.Struct, frozen=True):
    """The recognition or synthesis failed; no useful event follows."""

    error: SpeechError


RecognitionEvent = Connected | Hypothesis | FinalPhrase | Completed | Failed
SynthesisEvent = Connected | Disconnected | AudioChunk | Completed | Failed


EventT = TypeVar("EventT")


class SdkCallbacks:
    """Connects the SDK's signals to the event loop; ``disconnect`` breaks their reference cycles."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._signals: list[Any] = []

    def connect(self, signal: Any, parse: Callable[[Any], EventT], on_event: Callable[[EventT | Failed], None]) -> None:
        """Call ``on_event`` on the event loop with what ``parse`` returns for the signal's argument."""

        def post_event(argument: Any) -> None:
            event: EventT | Failed
            try:
                event = parse(argument)
            except Exception as error:  # noqa: BLE001  on a thread of the SDK, where an error would be lost
                event = Failed(SpeechError(f"Azure speech sent an invalid event ({type(error).__name__})"))
            call_soon_safe(self._loop, on_event, event)

        signal.connect(post_event)
        self._signals.append(signal)

    def disconnect(self) -> None:
        """Disconnect all signals, and wait for the callbacks that are running. The first step of a teardown, which may
        hang.

        A callback on a thread of the SDK while the interpreter exits would abort the process: Python ends that thread,
        which the SDK's C++ code does not survive.
        """
        while self._signals:
            self._signals.pop().disconnect_all()


_ERRORS_BY_CODE: dict[str, tuple[type[SpeechError], str]] = {
    "AuthenticationFailure": (AuthenticationFailed, "rejected the key"),
    "Forbidden": (AuthenticationFailed, "refused the request: the subscription's quota is used up"),
    "BadRequest": (RequestNotSupported, "rejected the request"),
    "TooManyRequests": (SpeechError, "has too many concurrent requests"),
    "ConnectionFailure": (SpeechError, "could not be reached, or closed the connection"),
    "ServiceTimeout": (SpeechError, "did not respond in time"),
    "ServiceError": (SpeechError, "failed"),
    "ServiceUnavailable": (SpeechError, "is not available"),
}
"""By the name of the SDK's ``CancellationErrorCode``."""

_STATUS_CODE = re.compile(r"(?:Error code: |\()(\d{3,4})\b")
"""A WebSocket close code (``Error code: 1007.``) or an HTTP status (``(401)``)."""

_QUOTA_OR_THROTTLING = re.compile(r"quota|throttl", re.IGNORECASE)
"""Reasons with which the service closes with 1007, "bad request", when there are too many requests."""


_MENTIONS_VOICE = re.compile(r"\bvoices?\b", re.IGNORECASE)
"""In a rejection: "Unsupported voice x.", "Standard voices will no longer be supported"."""


def to_speech_error(code: str, details: str) -> SpeechError:
    """Map a cancellation's code name and details to an error."""
    if _QUOTA_OR_THROTTLING.search(details) and code in ("BadRequest", "ConnectionFailure"):
        code = "TooManyRequests"
    elif _MENTIONS_VOICE.search(details) and code == "BadRequest":
        return RequestNotSupported("Azure speech does not have this voice, or not for this subscription")
    kind, meaning = _ERRORS_BY_CODE.get(code, (SpeechError, "failed"))
    status = _STATUS_CODE.search(details)
    return kind(f"Azure speech {meaning} ({status[1] if status else code})")
