"""Maps ElevenLabs' error responses to SpeechError, and validates the API key.

Only HTTP statuses and the service's error names go into a message, since its texts quote what was sent to it.
"""

import re
from typing import Any

from vocelio.gateway.speech.interfaces import AuthenticationFailed, RequestNotSupported, SpeechError

_ERROR_NAME = re.compile(r"[a-z_]{1,60}")

_ACCOUNT_ERRORS = frozenset({"quota_exceeded", "insufficient_credits", "auth_error", "unaccepted_terms"})
"""Error names that concern the account, whatever the status: an exhausted quota came with 401 and with 429."""

_REQUEST_ERRORS = frozenset(
    {"input_error", "invalid_request", "chunk_size_exceeded", "paid_plan_required", "voice_access_denied"}
)
"""Error names that concern the request: realtime errors, which have no status, and voices the account may not use."""


def error_name(body: Any) -> str:
    """Return the error's name from ``{"detail": {"status": ..}}`` or the newer ``{"detail": {"code": ..}}``."""
    detail = body.get("detail") if isinstance(body, dict) else None
    names = [detail.get("code"), detail.get("status")] if isinstance(detail, dict) else []
    return next((name for name in names if isinstance(name, str) and _ERROR_NAME.fullmatch(name)), "")


def from_status(status: int | None, body: Any) -> SpeechError:
    """Map an HTTP error response."""
    name = error_name(body)
    message = f"ElevenLabs responded with {status}{f' ({name})' if name else ''}"
    if name in _REQUEST_ERRORS:
        return RequestNotSupported(message)
    if status in {401, 402, 403} or name in _ACCOUNT_ERRORS:
        return AuthenticationFailed(message)
    if status in {400, 404, 422}:
        return RequestNotSupported(message)
    return SpeechError(message)


def from_message(name: str) -> SpeechError:
    """Map an error message of a realtime session."""
    message = f"ElevenLabs ended the recognition ({name if _ERROR_NAME.fullmatch(name) else 'unknown error'})"
    if name in _ACCOUNT_ERRORS:
        return AuthenticationFailed(message)
    if name in _REQUEST_ERRORS:
        return RequestNotSupported(message)
    return SpeechError(message)


def validate_api_key(key: str) -> str:
    """Return the key if it can be sent in a header. Raises AuthenticationFailed."""
    if not key or not key.isascii() or not key.isprintable() or " " in key:
        raise AuthenticationFailed("ELEVENLABS_API_KEY is missing or contains invalid characters")
    return key
