"""What the gateway and a recognition worker say to each other, over a socket pair.

A message is a 4-byte length (big-endian) and that many bytes of msgpack; both directions are here. Order is
kept, and a stream's ``Audio`` and ``Finish`` or ``Close`` follow its ``Open``. After a ``Final`` or ``Failed``
the worker has forgotten the stream; so it has after a ``Close``, though reports may still be under way.
"""

from collections.abc import Iterator
from typing import Generic, TypeVar

import msgspec

MAX_MESSAGE_BYTES = 1 << 20
"""Bytes in one message: a grammar's phrases may be long, sound never is. More is a defect, not a peer's mischief."""

_LENGTH_BYTES = 4


class OpenStream(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """A stream begins; ``phrases`` and ``repeat`` are those of ``Expectation``."""

    stream_id: int
    phrases: tuple[str, ...]
    language: str
    repeat: bool


class StreamAudio(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """More mu-law of a stream."""

    stream_id: int
    mulaw: bytes


class FinishStream(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """The utterance is complete: report what was heard."""

    stream_id: int


class CloseStream(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Nobody wants to know any more. Nothing answers it, and none follows a ``Finish``, which is answered."""

    stream_id: int


class WorkerReady(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """The worker has loaded everything: its first message, unless it is ``Broken``."""


class StartFailed(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """The worker cannot work at all, and ends."""

    reason: str


class PartialResult(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """What the stream sounds like so far."""

    stream_id: int
    text: str
    confidence: float


class FinalResult(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """What was heard; no text if it was none of the phrases."""

    stream_id: int
    text: str
    confidence: float


class StreamFailed(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """The stream cannot be recognised, for what was asked of it: others can."""

    stream_id: int
    reason: str


class PhraseSkipped(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """A phrase that this worker cannot hear, since a word of it has no known pronunciation."""

    phrase: str


Request = OpenStream | StreamAudio | FinishStream | CloseStream
Report = WorkerReady | StartFailed | PartialResult | FinalResult | StreamFailed | PhraseSkipped

REQUEST_DECODER: msgspec.msgpack.Decoder[Request] = msgspec.msgpack.Decoder(Request)
REPORT_DECODER: msgspec.msgpack.Decoder[Report] = msgspec.msgpack.Decoder(Report)

_encoder = msgspec.msgpack.Encoder()
MessageT = TypeVar("MessageT")


def encode_message(message: Request | Report) -> bytes:
    """One message, ready to be sent."""
    body = _encoder.encode(message)
    return len(body).to_bytes(_LENGTH_BYTES, "big") + body


class FrameReader(Generic[MessageT]):
    """Puts the messages of a byte stream together. Raises ValueError for what is none."""

    def __init__(self, decoder: msgspec.msgpack.Decoder[MessageT]) -> None:
        self._decoder = decoder
        self._buffer = bytearray()  # bounded: a longer message than MAX_MESSAGE is refused at its length

    def feed(self, data: bytes) -> Iterator[MessageT]:
        self._buffer += data
        while (length := self._next_length()) is not None:
            body = bytes(self._buffer[_LENGTH_BYTES : _LENGTH_BYTES + length])
            del self._buffer[: _LENGTH_BYTES + length]
            yield self._decoder.decode(body)

    def _next_length(self) -> int | None:
        """The length of the next message if it is here as a whole."""
        if len(self._buffer) < _LENGTH_BYTES:
            return None
        length = int.from_bytes(self._buffer[:_LENGTH_BYTES], "big")
        if length > MAX_MESSAGE_BYTES:
            raise ValueError(f"a message of {length} bytes")
        return length if len(self._buffer) >= _LENGTH_BYTES + length else None
