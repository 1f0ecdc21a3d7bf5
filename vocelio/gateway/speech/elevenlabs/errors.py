"""What ElevenLabs answers instead of speech, as the errors of the ports.

Only statuses and the service's own names of errors go into a message: its texts quote what was sent to it.

The key, as it goes into a header.
"""

import re
from typing import Any

from vocelio.gateway.speech.interfaces import AuthenticationFailed, RequestNotSupported, SpeechError

_ERROR_NAME = re.compile(r"[a-z_]{1,60}")

_ACCOUNT_ERRORS = frozenset({"quota_exceeded", "insufficient_credits", "auth_error", "unaccepted_terms"})
"""Names that mean the account, whatever the status: a used-up quota came with 401 and with 429."""

_REQUEST_ERRORS = frozenset(
    {"input_error", "invalid_request", "chunk_size_exceeded", "paid_plan_required", "voice_access_denied"}
)
"""Names that mean the request: of realtime errors, which have no status; of a voice that the account may not use."""


def error_name(body: Any) -> str:
    """The service's name of an error, from ``{"detail": {"status": ..}}`` or the newer ``{"detail": {"code": ..}}``."""
    detail = body.get("detail") if isinstance(body, dict) else None
    names = [detail.get("code"), detail.get("status")] if isinstance(detail, dict) else []
    return next((name for name in names if isinstance(name, str) and _ERROR_NAME.fullmatch(name)), "")


def from_status(status: int | None, body: Any) -> SpeechError:
    """The error for an HTTP answer."""
    name = error_name(body)
    said = f"ElevenLabs answered {status}{f' ({name})' if name else ''}"
    if name in _REQUEST_ERRORS:
        return RequestNotSupported(said)
    if status in {401, 402, 403} or name in _ACCOUNT_ERRORS:
        return AuthenticationFailed(said)
    if status in {400, 404, 422}:
        return RequestNotSupported(said)
    return SpeechError(said)


def from_message(name: str) -> SpeechError:
    """The error for an error message of a realtime session."""
    said = f"ElevenLabs ended the recognition ({name if _ERROR_NAME.fullmatch(name) else 'unknown error'})"
    if name in _ACCOUNT_ERRORS:
        return AuthenticationFailed(said)
    if name in _REQUEST_ERRORS:
        return RequestNotSupported(said)
    return SpeechError(said)


def validate_api_key(key: str) -> str:
    """The key, if it can be put into a header at all. Raises CredentialsRefused."""
    if not key or not key.isascii() or not key.isprintable() or " " in key:
        raise AuthenticationFailed("the ElevenLabs key is missing or holds characters that no key has")
    return key
