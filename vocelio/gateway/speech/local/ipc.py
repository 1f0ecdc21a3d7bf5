"""Protocol between the gateway and its speech workers, over a socket pair; both directions.

A message is a 4-byte length (big-endian) and as many bytes of msgpack. Order is kept. A worker's first message is
``WorkerReady`` or ``StartFailed``.

Recognition: a stream's ``StreamAudio``, ``FinishStream`` or ``CloseStream`` follow its ``OpenStream``. After a
``FinalResult`` or ``StreamFailed`` the worker has dropped the stream; so it has after a ``CloseStream``, though reports
may still be on their way.

Synthesis: one ``RenderSegment`` at a time, answered by any number of ``SegmentAudio`` and one ``SegmentRendered``. So
the text on which a worker dies is known.
"""

from collections.abc import Iterator
from typing import Generic, TypeVar

import msgspec

MAX_MESSAGE_BYTES = 1 << 20
"""Bytes of a message: a grammar's phrases may be long, audio never is."""

_LENGTH_BYTES = 4


class OpenStream(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Open a stream; ``phrases`` and ``repeat`` are those of ``RecognitionHints``."""

    stream_id: int
    phrases: tuple[str, ...]
    language: str
    repeat: bool


class StreamAudio(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Mu-law audio of a stream."""

    stream_id: int
    mulaw: bytes


class FinishStream(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """The utterance is complete: report the result."""

    stream_id: int


class CloseStream(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Drop the stream. Not answered."""

    stream_id: int


class WorkerReady(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """The worker has loaded everything. Its first message, unless that is ``StartFailed``."""


class StartFailed(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """The worker cannot start, and exits."""

    reason: str


class PartialResult(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """The phrase so far."""

    stream_id: int
    text: str
    confidence: float


class FinalResult(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """The recognized phrase; an empty text if it was none."""

    stream_id: int
    text: str
    confidence: float


class StreamFailed(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """The stream cannot be recognized because of its request; other streams can."""

    stream_id: int
    reason: str


class PhraseSkipped(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """A phrase that cannot be recognized, since one of its words has no known pronunciation."""

    phrase: str


class RenderSegment(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Speak a segment of a text; the arguments are those of ``Espeak.render``."""

    text: str
    voice: str
    words_per_minute: int
    pause: bool


class SegmentAudio(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """The next mu-law audio of the segment."""

    mulaw: bytes


class SegmentRendered(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """All audio of the segment has been sent."""


class VoiceReplaced(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """The segment is spoken by another voice, since espeak-ng does not have the one asked for."""

    voice: str
    used: str


RecognitionRequest = OpenStream | StreamAudio | FinishStream | CloseStream
RecognitionReport = WorkerReady | StartFailed | PartialResult | FinalResult | StreamFailed | PhraseSkipped
SynthesisReport = WorkerReady | StartFailed | SegmentAudio | SegmentRendered | VoiceReplaced
Message = RecognitionRequest | RecognitionReport | RenderSegment | SynthesisReport

RECOGNITION_REQUESTS: msgspec.msgpack.Decoder[RecognitionRequest] = msgspec.msgpack.Decoder(RecognitionRequest)
RECOGNITION_REPORTS: msgspec.msgpack.Decoder[RecognitionReport] = msgspec.msgpack.Decoder(RecognitionReport)
SYNTHESIS_REQUESTS: msgspec.msgpack.Decoder[RenderSegment] = msgspec.msgpack.Decoder(RenderSegment)
SYNTHESIS_REPORTS: msgspec.msgpack.Decoder[SynthesisReport] = msgspec.msgpack.Decoder(SynthesisReport)

_encoder = msgspec.msgpack.Encoder()
MessageT = TypeVar("MessageT")


def encode_message(message: Message) -> bytes:
    """Encode a message with its length prefix."""
    body = _encoder.encode(message)
    return len(body).to_bytes(_LENGTH_BYTES, "big") + body


class FrameReader(Generic[MessageT]):
    """Splits a byte stream into messages. Raises ValueError for invalid data."""

    def __init__(self, decoder: msgspec.msgpack.Decoder[MessageT]) -> None:
        self._decoder = decoder
        self._buffer = bytearray()  # bounded: a message longer than MAX_MESSAGE_BYTES is rejected

    def feed(self, data: bytes) -> Iterator[MessageT]:
        self._buffer += data
        while (length := self._next_length()) is not None:
            body = bytes(self._buffer[_LENGTH_BYTES : _LENGTH_BYTES + length])
            del self._buffer[: _LENGTH_BYTES + length]
            yield self._decoder.decode(body)

    def _next_length(self) -> int | None:
        """Return the length of the next message if it is complete."""
        if len(self._buffer) < _LENGTH_BYTES:
            return None
        length = int.from_bytes(self._buffer[:_LENGTH_BYTES], "big")
        if length > MAX_MESSAGE_BYTES:
            raise ValueError(f"a message has {length} bytes, more than {MAX_MESSAGE_BYTES}")
        return length if len(self._buffer) >= _LENGTH_BYTES + length else None
