"""What goes wrong, in the numbers that Twilio's debugger shows: codes, their texts and the error that carries one.

The names are Twilio's own (twilio.com/docs/api/errors). A fault is an entry of the account's log; a
``CarrierError`` is one that stops what was being done.
"""

from dataclasses import dataclass
from typing import Final

HTTP_RETRIEVAL: Final = 11200
"""A webhook answered with something other than 2xx, or did not answer in time."""
HTTP_CONNECTION: Final = 11205
"""A webhook could not be connected to, retries included."""
TOO_MANY_REDIRECTS: Final = 11215
RETRY_POLICY: Final = 11243
"""The ``rp`` in a webhook's fragment is none."""
BODY_TOO_LARGE: Final = 11750
PARSE_FAILURE: Final = 12100
"""Not well-formed XML, or a document type declaration."""
NOT_A_RESPONSE: Final = 12102
"""The root element is not ``<Response>``."""
SCHEMA_VALIDATION: Final = 12200
"""A verb, attribute or nesting that TwiML does not have, or that the simulator does not play."""
CONTENT_TYPE: Final = 12300
DIAL_CALLER_ID: Final = 13214
DIAL_NUMBER: Final = 13223
STREAM_TIMEOUT: Final = 31901
STREAM_REFUSED: Final = 31902
STREAM_LOST: Final = 31903
"""The socket broke without a close frame."""
STREAM_TLS: Final = 31910
"""No TLS came about, such as for a certificate that nobody knows."""
STREAM_HANDSHAKE: Final = 31920
"""The upgrade was answered with something other than 101; also a query string in the url."""
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
"""A binary message; logged once a stream."""
STREAM_MALFORMED: Final = 31951
"""A message of a known event that cannot be used; logged once a stream."""

WARNING_CODES: Final = frozenset({STREAM_BINARY, STREAM_MALFORMED})
"""Logged by Twilio as warnings: the stream goes on."""


@dataclass(frozen=True, slots=True)
class DebuggerEntry:
    """An entry of the log: Twilio's ``code``, what happened, and ``at`` seconds since the call was placed."""

    code: int
    message: str
    at: float = 0.0

    @property
    def is_warning(self) -> bool:
        """Whether Twilio logs it as a warning only."""
        return self.code in WARNING_CODES

    def __str__(self) -> str:
        return f"{self.code} {self.message}"


class TwilioSimError(Exception):
    """Something of the other side's that Twilio would not carry out."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"{code} {message}")
        self.code = code
        self.message = message
