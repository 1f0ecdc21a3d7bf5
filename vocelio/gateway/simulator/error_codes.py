"""Error codes of Twilio's debugger (twilio.com/docs/api/errors), its log entries, and the exception with a code.

A ``DebuggerEntry`` only records an error; a ``TwilioSimError`` aborts the current operation.
"""

from dataclasses import dataclass
from typing import Final

HTTP_RETRIEVAL: Final = 11200
"""A webhook responded with a status other than 2xx, or did not respond in time."""
HTTP_CONNECTION: Final = 11205
"""The connection to a webhook failed, also on retries."""
TOO_MANY_REDIRECTS: Final = 11215
RETRY_POLICY: Final = 11243
"""The retry policy (``rp``) in a webhook's fragment is invalid."""
BODY_TOO_LARGE: Final = 11750
PARSE_FAILURE: Final = 12100
"""Not well-formed XML, or a document type declaration."""
NOT_A_RESPONSE: Final = 12102
"""The root element is not ``<Response>``."""
SCHEMA_VALIDATION: Final = 12200
"""A verb, attribute or nesting that TwiML does not have, or that the simulator does not support."""
CONTENT_TYPE: Final = 12300
DIAL_CALLER_ID: Final = 13214
DIAL_NUMBER: Final = 13223
STREAM_TIMEOUT: Final = 31901
STREAM_REFUSED: Final = 31902
STREAM_LOST: Final = 31903
"""The socket ended without a close frame."""
STREAM_TLS: Final = 31910
"""The TLS handshake failed, for example because of an unknown certificate."""
STREAM_HANDSHAKE: Final = 31920
"""The upgrade was answered with a status other than 101, or the URL has a query string."""
STREAM_CLOSED: Final = 31921
"""The server closed the socket; logged here only when its code was not 1000."""
STREAM_SCHEME: Final = 31922
STREAM_URL: Final = 31923
STREAM_PROTOCOL: Final = 31924
"""An event other than media, mark and clear, or a violation of the WebSocket protocol."""
STREAM_SLOW: Final = 31930
"""The server reads too slowly and audio was dropped."""
STREAM_TRACK: Final = 31941
STREAM_BINARY: Final = 31950
"""A binary message; logged once per stream."""
STREAM_MALFORMED: Final = 31951
"""An invalid message of a known event; logged once per stream."""

WARNING_CODES: Final = frozenset({STREAM_BINARY, STREAM_MALFORMED})
"""Logged by Twilio as warnings: the stream continues."""


@dataclass(frozen=True, slots=True)
class DebuggerEntry:
    """One entry of Twilio's debugger; ``at`` is seconds since the call was placed."""

    code: int
    message: str
    at: float = 0.0

    @property
    def is_warning(self) -> bool:
        """Whether Twilio logs it as a warning."""
        return self.code in WARNING_CODES

    def __str__(self) -> str:
        return f"{self.code} {self.message}"


class TwilioSimError(Exception):
    """An error of the gateway for which Twilio aborts the operation."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"{code} {message}")
        self.code = code
        self.message = message
