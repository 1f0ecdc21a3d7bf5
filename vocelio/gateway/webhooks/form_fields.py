"""The fields of Twilio's forms, and of our own queries that Twilio sends back: what a valid value looks like.

A signature proves whose account a request belongs to, not that it is well-formed: a tenant with an account of its own
can sign anything, and fields glued together by whoever replays a request keep its signature. So every field that is
read is checked here, before it is stored, logged or compared. Twilio's documentation names no format for most of them:
the patterns are wider than anything Twilio was seen to send.
"""

import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType

import msgspec

from vocelio.gateway.errors import BadRequest
from vocelio.gateway.webhooks import urls

_CONTROL = r"\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff"
"""Control characters, line ends and surrogates, within a character class."""


class FieldFormat(msgspec.Struct, frozen=True):
    """A pattern for the whole value, and its description in messages."""

    pattern: re.Pattern[str]
    description: str

    def accepts(self, value: str) -> bool:
        return self.pattern.fullmatch(value) is not None


def _sid(prefix: str) -> FieldFormat:
    return FieldFormat(re.compile(f"{prefix}[0-9a-f]{{32}}"), f"{prefix} and 32 hexadecimal digits")


def _text(max_length: int, also_allowed: str = "") -> FieldFormat:
    allowed = f"[^{_CONTROL}]" if not also_allowed else f"(?:[^{_CONTROL}]|[{also_allowed}])"
    return FieldFormat(
        re.compile(f"{allowed}{{0,{max_length}}}"), f"a text of at most {max_length:,} characters without controls"
    )


_ACCOUNT_SID, _CALL_SID = _sid("AC"), _sid("CA")
_ADDRESS = FieldFormat(
    re.compile(
        r"\+?[0-9*#]{1,24}"  # E.164, a short code, a withheld number as digits of a keypad
        rf"|[a-z]{{2,16}}:[^{_CONTROL}]{{1,300}}"  # sip:, sips:, client:, whatsapp:
        r"|[A-Za-z][A-Za-z0-9 ._-]{0,31}"  # Anonymous, Restricted, Unavailable
        r"|"  # withheld
    ),
    "a telephone number, a SIP URI, a client or the word for a withheld number",
)
_WORD = FieldFormat(re.compile(r"[a-z-]{0,32}"), "one of Twilio's words")
_COUNT = FieldFormat(re.compile(r"-?[0-9]{0,9}"), "a number of at most nine digits")

FORM_FIELDS: Mapping[str, FieldFormat] = MappingProxyType(
    {
        "AccountSid": _ACCOUNT_SID,
        "CallSid": _CALL_SID,
        "From": _ADDRESS,
        "To": _ADDRESS,
        "CallStatus": _WORD,
        "DialCallStatus": _WORD,
        "DialCallDuration": _COUNT,
        "QueueResult": _WORD,
        "QueueTime": _COUNT,
        "StreamEvent": _WORD,
        "StreamError": _text(2_000, also_allowed=r"\t\r\n"),  # an error message, of which the form is undocumented
        "ErrorCode": _COUNT,
        "ErrorUrl": _text(16_000),  # that of a queue contains a message of 1,000 characters, up to 12 bytes each
    }
)
QUERY_FIELDS: Mapping[str, FieldFormat] = MappingProxyType(
    {
        urls.GENERATION: _COUNT,
        urls.STREAM_ATTEMPT: _COUNT,
        urls.RETRY: _COUNT,
        urls.DIAL_ATTEMPT: _COUNT,
        urls.TRANSFER: _text(200),
        urls.CALL: _CALL_SID,
        urls.WAITED_SECONDS: _COUNT,
        urls.REMAINING_SECONDS: _COUNT,
        urls.MESSAGE: _text(1_000, also_allowed=r"\t\r\n"),  # the tenant's own
        "DialCallStatus": _WORD,
        "DialCallDuration": _COUNT,
    }
)


def check_fields(
    pairs: Iterable[tuple[str, object]], formats: Mapping[str, FieldFormat], source: str
) -> dict[str, str]:
    """Return the fields that have a format; others are never read. ``source`` is where they are from, for messages.

    Raises BadRequest for one that is malformed or repeated. The message does not contain the value.
    """
    checked: dict[str, str] = {}
    for name, value in pairs:
        if name not in formats:
            continue
        if name in checked:
            raise BadRequest(f"the {source} has {name} more than once")
        if not isinstance(value, str) or not formats[name].accepts(value):
            raise BadRequest(f"{name} of the {source} must be {formats[name].description}")
        checked[name] = value
    return checked
