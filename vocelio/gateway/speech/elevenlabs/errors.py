"""What ElevenLabs answers instead of speech, as the errors of the ports.

Only statuses and the service's own names of errors go into a message: its texts quote what was sent to it.

The key, as it goes into a header.
"""

import re
from typing import Any

from vocelio.gateway.speech.interfaces import CredentialsRefused, SpeechError, Unsuitable

_NAME = re.compile(r"[a-z_]{1,60}")

_ACCOUNT = frozenset({"quota_exceeded", "insufficient_credits", "auth_error", "unaccepted_terms"})
"""Names that mean the account, whatever the status: a used-up quota came with 401 and with 429."""

_REQUEST = frozenset(
    {"input_error", "invalid_request", "chunk_size_exceeded", "paid_plan_required", "voice_access_denied"}
)
"""Names that mean the request: of realtime errors, which have no status; of a voice that the account may not use."""


def name_in(body: Any) -> str:
    """The service's name of an error, from ``{"detail": {"status": ..}}`` or the newer ``{"detail": {"code": ..}}``."""
    detail = body.get("detail") if isinstance(body, dict) else None
    names = [detail.get("code"), detail.get("status")] if isinstance(detail, dict) else []
    return next((name for name in names if isinstance(name, str) and _NAME.fullmatch(name)), "")


def from_status(status: int | None, body: Any) -> SpeechError:
    """The error for an HTTP answer."""
    name = name_in(body)
    said = f"ElevenLabs answered {status}{f' ({name})' if name else ''}"
    if name in _REQUEST:
        return Unsuitable(said)
    if status in {401, 402, 403} or name in _ACCOUNT:
        return CredentialsRefused(said)
    if status in {400, 404, 422}:
        return Unsuitable(said)
    return SpeechError(said)


def from_message(name: str) -> SpeechError:
    """The error for an error message of a realtime session."""
    said = f"ElevenLabs ended the recognition ({name if _NAME.fullmatch(name) else 'unknown error'})"
    if name in _ACCOUNT:
        return CredentialsRefused(said)
    if name in _REQUEST:
        return Unsuitable(said)
    return SpeechError(said)


def sendable(key: str) -> str:
    """The key, if it can be put into a header at all. Raises CredentialsRefused."""
    if not key or not key.isascii() or not key.isprintable() or " " in key:
        raise CredentialsRefused("the ElevenLabs key is missing or holds characters that no key has")
    return key
