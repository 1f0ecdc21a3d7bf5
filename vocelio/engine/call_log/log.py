"""A call's log: JSON lines, so that a call appends to it as it goes on and a crash costs at most the last line.

The first line says which version ran and what was known of the call; every further line is one exchange.
"""

import msgspec

from vocelio.engine.call_info import CallInfo
from vocelio.engine.call_log.exchange import CallLogError, Exchange
from vocelio.engine.flow import FlowVersion

LOG_FORMAT = "vocelio call 1"
MAX_LOG_BYTES = 64_000_000  # an hour's call at ten events a second is a tenth of this


class LogHeader(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The first line. The call's start is ``facts.started``; ``version`` is FlowVersion.id."""

    log: str = LOG_FORMAT
    version: str
    flow: str
    facts: CallInfo


class CallLog(msgspec.Struct, frozen=True):
    """A whole call. ``complete`` is False when the last line was cut off; that line is left out."""

    header: LogHeader
    exchanges: tuple[Exchange, ...]
    complete: bool = True


_HEADER_DECODER = msgspec.json.Decoder(LogHeader)
_EXCHANGE_DECODER = msgspec.json.Decoder(Exchange)


def build_header(version: FlowVersion, call_info: CallInfo) -> LogHeader:
    """What a log of this call begins with."""
    return LogHeader(version=version.id, flow=version.flow.name, facts=call_info)


def encode_line(entry: LogHeader | Exchange) -> bytes:
    """One line, with its line feed."""
    return msgspec.json.encode(entry) + b"\n"


def encode_log(log: CallLog) -> bytes:
    """The whole log."""
    return b"".join([encode_line(log.header), *map(encode_line, log.exchanges)])


def decode_log(data: bytes) -> CallLog:
    """Raises ReplayError, naming the line, when this is not a log of this release."""
    if len(data) > MAX_LOG_BYTES:
        raise CallLogError(f"a call's log has at most {MAX_LOG_BYTES:,} bytes, this one {len(data):,}")
    first, *rest = data.split(b"\n")
    head = _decode_header(first)
    last = rest.pop() if rest else b""
    exchanges = [_decode_exchange(text, number) for number, text in enumerate(rest, start=2)]
    return CallLog(head, tuple(exchanges), complete=not last)


def _decode_header(line: bytes) -> LogHeader:
    try:
        found = _HEADER_DECODER.decode(line)
    except (msgspec.DecodeError, RecursionError) as error:
        raise CallLogError(f"line 1: not the beginning of a call's log: {error}") from error
    if found.log != LOG_FORMAT:
        raise CallLogError(f"line 1: the format is `{found.log[:40]}`, this release reads `{LOG_FORMAT}`")
    return found


def _decode_exchange(line: bytes, line_number: int) -> Exchange:
    try:
        return _EXCHANGE_DECODER.decode(line)
    except (msgspec.DecodeError, RecursionError) as error:
        raise CallLogError(f"line {line_number}: {error}") from error
