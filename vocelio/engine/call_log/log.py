"""A call's log: JSON lines, so that a call appends to it as it goes on and a crash costs at most the last line.

The first line says which version ran and what was known of the call; every further line is one exchange.
"""

import msgspec

from vocelio.engine.call_info import CallFacts
from vocelio.engine.call_log.exchange import Exchange, ReplayError
from vocelio.engine.flow import FlowVersion

FORMAT = "vocelio call 1"
MAX_BYTES = 64_000_000  # an hour's call at ten events a second is a tenth of this


class Header(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The first line. The call's start is ``facts.started``; ``version`` is FlowVersion.id."""

    log: str = FORMAT
    version: str
    flow: str
    facts: CallFacts


class CallLog(msgspec.Struct, frozen=True):
    """A whole call. ``complete`` is False when the last line was cut off; that line is left out."""

    header: Header
    exchanges: tuple[Exchange, ...]
    complete: bool = True


_HEADER = msgspec.json.Decoder(Header)
_EXCHANGE = msgspec.json.Decoder(Exchange)


def header(version: FlowVersion, facts: CallFacts) -> Header:
    """What a log of this call begins with."""
    return Header(version=version.id, flow=version.flow.name, facts=facts)


def line(part: Header | Exchange) -> bytes:
    """One line, with its line feed."""
    return msgspec.json.encode(part) + b"\n"


def write(log: CallLog) -> bytes:
    """The whole log."""
    return b"".join([line(log.header), *map(line, log.exchanges)])


def read(data: bytes) -> CallLog:
    """Raises ReplayError, naming the line, when this is not a log of this release."""
    if len(data) > MAX_BYTES:
        raise ReplayError(f"a call's log has at most {MAX_BYTES:,} bytes, this one {len(data):,}")
    first, *rest = data.split(b"\n")
    head = _header(first)
    last = rest.pop() if rest else b""
    exchanges = [_exchange(text, number) for number, text in enumerate(rest, start=2)]
    return CallLog(head, tuple(exchanges), complete=not last)


def _header(text: bytes) -> Header:
    try:
        found = _HEADER.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ReplayError(f"line 1: not the beginning of a call's log: {error}") from error
    if found.log != FORMAT:
        raise ReplayError(f"line 1: the format is `{found.log[:40]}`, this release reads `{FORMAT}`")
    return found


def _exchange(text: bytes, number: int) -> Exchange:
    try:
        return _EXCHANGE.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ReplayError(f"line {number}: {error}") from error
