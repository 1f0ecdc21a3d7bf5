"""What the SDK tells of a recognition or a synthesis: a small closed set, posted to the event loop.

The SDK's signals, from its threads to the event loop.

What the SDK says went wrong, as an error of the port.

The service's own words are never passed on: they may quote the request, which holds what a caller said or is told.
What is kept of them is a number.
"""

import asyncio
import re
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from vocelio.gateway.speech.azure.daemon_pool import call_soon_safe
from vocelio.gateway.speech.interfaces import AuthenticationFailed, RequestNotSupported, SpeechError


class Connected(msgspec.Struct, frozen=True):
    """The service has accepted the key."""


class Disconnected(msgspec.Struct, frozen=True):
    """The connection has ended, whoever ended it."""


class Hypothesis(msgspec.Struct, frozen=True):
    """What has been heard of a phrase so far."""

    text: str


class FinalPhrase(msgspec.Struct, frozen=True):
    """A phrase that has ended; ``text`` is empty when it was not understood."""

    text: str
    confidence: float


class AudioChunk(msgspec.Struct, frozen=True):
    """The next of what is spoken, mu-law."""

    mulaw: bytes


class Completed(msgspec.Struct, frozen=True):
    """All sound has been heard, or the text has been spoken in full."""


class Failed(msgspec.Struct, frozen=True):
    """It failed; nothing sensible follows."""

    error: SpeechError


RecognitionEvent = Connected | Hypothesis | FinalPhrase | Completed | Failed
SynthesisEvent = Connected | Disconnected | AudioChunk | Completed | Failed


EventT = TypeVar("EventT")


class SdkCallbacks:
    """What is connected of them. A signal holds whoever it tells, who mostly holds it: ``disconnect`` ends that."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._signals: list[Any] = []

    def connect(self, signal: Any, parse: Callable[[Any], EventT], on_event: Callable[[EventT | Failed], None]) -> None:
        """Have ``tell`` called on the event loop with what ``read`` makes of the signal's argument."""

        def tell_soon(argument: Any) -> None:
            event: EventT | Failed
            try:
                event = parse(argument)
            except Exception as error:  # noqa: BLE001  this is a thread of the SDK: an error would be lost
                event = Failed(SpeechError(f"Azure speech said what cannot be read ({type(error).__name__})"))
            call_soon_safe(self._loop, on_event, event)

        signal.connect(tell_soon)
        self._signals.append(signal)

    def disconnect(self) -> None:
        """Nothing more is told; waits for what is just being told. The first thing of a teardown, which may hang.

        A thread of the SDK that wants to tell something while the interpreter ends makes the process abort: Python
        ends that thread, which the SDK's C++ does not survive.
        """
        while self._signals:
            self._signals.pop().disconnect_all()


_ERRORS_BY_CODE: dict[str, tuple[type[SpeechError], str]] = {
    "AuthenticationFailure": (AuthenticationFailed, "refused the key"),
    "Forbidden": (AuthenticationFailed, "forbids it: the subscription's quota is used up"),
    "BadRequest": (RequestNotSupported, "does not take the request"),
    "TooManyRequests": (SpeechError, "has too many requests at once"),
    "ConnectionFailure": (SpeechError, "cannot be reached, or broke the connection off"),
    "ServiceTimeout": (SpeechError, "did not answer in time"),
    "ServiceError": (SpeechError, "failed"),
    "ServiceUnavailable": (SpeechError, "is not available"),
}
"""By the name of the SDK's ``CancellationErrorCode``."""

_STATUS_CODE = re.compile(r"(?:Error code: |\()(\d{3,4})\b")
"""The close code of a WebSocket (``Error code: 1007.``) or an HTTP status (``(401)``)."""

_QUOTA_OR_THROTTLING = re.compile(r"quota|throttl", re.IGNORECASE)
"""The service also closes with 1007, "bad request", when there are too many: "Quota exceeded", "Throttled"."""


_MENTIONS_VOICE = re.compile(r"\bvoices?\b", re.IGNORECASE)
"""In a refusal: "Unsupported voice x.", "Standard voices will no longer be supported"."""


def to_speech_error(code: str, details: str) -> SpeechError:
    """The error for a cancellation with that code's name and those details."""
    if _QUOTA_OR_THROTTLING.search(details) and code in ("BadRequest", "ConnectionFailure"):
        code = "TooManyRequests"
    elif _MENTIONS_VOICE.search(details) and code == "BadRequest":
        return RequestNotSupported("Azure speech has no such voice, or not for this subscription")
    kind, meaning = _ERRORS_BY_CODE.get(code, (SpeechError, "failed"))
    number = _STATUS_CODE.search(details)
    return kind(f"Azure speech {meaning} ({number[1] if number else code})")
