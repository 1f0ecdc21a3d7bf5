"""Call log: the events of one call and the actions that the engine answered them with, as JSON lines.

An ``Exchange`` is one event and its actions. A flow version is deterministic: feeding the events again gives the same
exchanges. Scenarios, replay and the comparison of versions are built on them. A log never contains sensitive content.
"""

from collections.abc import Iterable, Sequence

import msgspec

from vocelio.engine.actions import AnyAction, Request, Speak, Transfer
from vocelio.engine.call_info import CallInfo
from vocelio.engine.errors import EngineError
from vocelio.engine.events import AnyEvent, KeyPressed, RequestEnded, TranscriptReceived
from vocelio.engine.flow import FlowVersion
from vocelio.engine.session import FlowSession

LOG_FORMAT = "vocelio call 1"
MAX_LOG_BYTES = 64_000_000  # an hour's call at ten events a second is a tenth of this
REDACTED = "(redacted)"


class CallLogError(EngineError):
    """The call log cannot be decoded."""


class Exchange(msgspec.Struct, frozen=True, omit_defaults=True):
    """An event and the actions of the flow. ``redacted``: the content of the caller's input has been removed."""

    event: AnyEvent
    actions: tuple[AnyAction, ...] = ()
    redacted: bool = False


class LogHeader(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The first line. ``version`` is FlowVersion.id."""

    format: str = LOG_FORMAT
    version: str
    flow: str
    call_info: CallInfo


class CallLog(msgspec.Struct, frozen=True):
    """The log of a whole call. ``complete`` is False if the last line is truncated; that line is left out."""

    header: LogHeader
    exchanges: tuple[Exchange, ...]
    complete: bool = True


_ACTIONS_DECODER = msgspec.json.Decoder(list[AnyAction])
_HEADER_DECODER = msgspec.json.Decoder(LogHeader)
_EXCHANGE_DECODER = msgspec.json.Decoder(Exchange)


# Running a session


def replay(version: FlowVersion, call_info: CallInfo, events: Iterable[AnyEvent]) -> list[Exchange]:
    """Feed the events to a new session of ``version``. Raises EventError for impossible events."""
    session = FlowSession(version, call_info)
    return [step(session, event) for event in events]


def step(session: FlowSession, event: AnyEvent) -> Exchange:
    """Feed one event. Raises EventError."""
    session.receive(event)
    return Exchange(event, tuple(session.actions()))


# Redaction


def redact_exchange(exchange: Exchange, sensitive: bool) -> Exchange:
    """Remove sensitive content. ``sensitive`` is FlowSession.input_is_sensitive as it was before the event.

    Sensitive input keeps its length only. A replay ends at a redacted exchange: what followed depended on the input.
    """
    event, redacted = exchange.event, False
    match event:
        case TranscriptReceived() if sensitive:
            event, redacted = msgspec.structs.replace(event, text="*" * len(event.text)), True
        case RequestEnded() if sensitive:
            event, redacted = msgspec.structs.replace(event, body=None), True
        case KeyPressed() if sensitive:
            event, redacted = msgspec.structs.replace(event, key="*"), True
        case _:
            pass
    return Exchange(event, without_secrets(exchange.actions), redacted)


def without_secrets(actions: Sequence[AnyAction]) -> tuple[AnyAction, ...]:
    """Return the actions with the content of sensitive ones removed."""
    return tuple(_redact_action(action) for action in actions)


def _redact_action(action: AnyAction) -> AnyAction:
    match action:
        case Speak(sensitive=True):
            return msgspec.structs.replace(action, text=REDACTED)
        case Request(sensitive=True):
            return msgspec.structs.replace(action, url=REDACTED, headers={}, json=None)
        case Transfer(sensitive=True):
            return msgspec.structs.replace(action, whisper=REDACTED)
        case _:
            return action


def equal_as_logged(left: Sequence[AnyAction], right: Sequence[AnyAction]) -> bool:
    """Compare actions as they decode from a log, in which tuples become lists and a timer's 3600 becomes 3600.0."""
    return _as_logged(left) == _as_logged(right)


def _as_logged(actions: Sequence[AnyAction]) -> list[AnyAction]:
    return _ACTIONS_DECODER.decode(msgspec.json.encode(actions))


# File format: a header line, then one line for each exchange, so that a crash loses at most the last line


def build_header(version: FlowVersion, call_info: CallInfo) -> LogHeader:
    """Build the first line of a call's log."""
    return LogHeader(version=version.id, flow=version.flow.name, call_info=call_info)


def encode_line(entry: LogHeader | Exchange) -> bytes:
    """Encode one line, including the line feed."""
    return msgspec.json.encode(entry) + b"\n"


def encode_log(log: CallLog) -> bytes:
    """Encode the whole log."""
    return b"".join([encode_line(log.header), *map(encode_line, log.exchanges)])


def decode_log(data: bytes) -> CallLog:
    """Decode a log. Raises CallLogError, which names the line, if this is not a log of this release."""
    if len(data) > MAX_LOG_BYTES:
        raise CallLogError(f"a call log has at most {MAX_LOG_BYTES:,} bytes, this one {len(data):,}")
    first, *rest = data.split(b"\n")
    header = _decode_header(first)
    truncated_line = rest.pop() if rest else b""
    exchanges = [_decode_exchange(line, number) for number, line in enumerate(rest, start=2)]
    return CallLog(header, tuple(exchanges), complete=not truncated_line)


def _decode_header(line: bytes) -> LogHeader:
    try:
        header = _HEADER_DECODER.decode(line)
    except (msgspec.DecodeError, RecursionError) as error:
        raise CallLogError(f"line 1: not the header of a call log: {error}") from error
    if header.format != LOG_FORMAT:
        raise CallLogError(f"line 1: the format is `{header.format[:40]}`, this release reads `{LOG_FORMAT}`")
    return header


def _decode_exchange(line: bytes, line_number: int) -> Exchange:
    try:
        return _EXCHANGE_DECODER.decode(line)
    except (msgspec.DecodeError, RecursionError) as error:
        raise CallLogError(f"line {line_number}: {error}") from error
