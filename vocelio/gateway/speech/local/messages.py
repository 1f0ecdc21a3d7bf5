"""What the gateway and its recogniser processes say to one another: msgpack behind a 4-byte length."""

from typing import BinaryIO

import msgspec

PREFIX = 4
MAX_MESSAGE = 1_000_000  # bytes: a grammar of a thousand phrases has a tenth of that


class Open(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """A new utterance, and the phrases that it may be."""

    id: int
    phrases: tuple[str, ...]
    repeat: bool


class Feed(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """More of its sound, mu-law."""

    id: int
    sound: bytes


class Finish(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """It has ended: a final Text is wanted."""

    id: int


class Drop(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Nothing more is wanted of it."""

    id: int


class Ready(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """The process can recognise."""


class Text(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """What was understood so far, or in all; empty when nothing was."""

    id: int
    text: str
    confidence: float
    final: bool


class Trouble(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """The utterance cannot be recognised, and why; ``id`` 0 is the whole process."""

    id: int
    why: str


Order = Open | Feed | Finish | Drop
Report = Ready | Text | Trouble

_encode = msgspec.msgpack.Encoder().encode
order: msgspec.msgpack.Decoder[Order] = msgspec.msgpack.Decoder(Order)
report: msgspec.msgpack.Decoder[Report] = msgspec.msgpack.Decoder(Report)


def framed(message: Order | Report) -> bytes:
    """The message with its length before it."""
    body = _encode(message)
    return len(body).to_bytes(PREFIX, "big") + body


def read(stream: BinaryIO) -> bytes | None:
    """The next message's body; None at the end of the stream."""
    prefix = stream.read(PREFIX)
    if len(prefix) < PREFIX:
        return None
    return stream.read(int.from_bytes(prefix, "big"))
