"""What the SDK says went wrong, as an error of the port.

The service's own words are never passed on: they may quote the request, which holds what a caller said or is told.
What is kept of them is a number.
"""

import re

from vocelio.gateway.speech.interfaces import AuthenticationFailed, RequestNotSupported, SpeechError

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
