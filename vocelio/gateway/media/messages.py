"""Messages of Twilio Media Streams: parsing of incoming ones, formatting of outgoing ones.

Twilio sends numbers as strings and audio as base64; both are decoded here and nowhere else. Source: Twilio's "Media
Streams - WebSocket messages".
"""

from binascii import b2a_base64
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from vocelio.gateway.model.types import PATTERN_END

Sid = Annotated[str, Meta(pattern=f"^[A-Z]{{2}}[0-9a-zA-Z]{{32}}{PATTERN_END}")]
"""The format of every Twilio identifier; it needs no escaping in JSON."""

MAX_MARK_LENGTH = 128  # characters: ours are under 20
MAX_AUDIO_BYTES = 8_000  # bytes of mu-law in one message: a second, fifty times the usual


class _Message(msgspec.Struct, frozen=True, tag_field="event", rename="camel"):
    """Base of all incoming messages."""


class Connected(_Message, frozen=True, tag="connected"):
    """The first message of every socket."""

    protocol: str = ""
    version: str = ""


class MediaFormat(msgspec.Struct, frozen=True, rename="camel"):
    """Encoding of the audio; checked, not assumed."""

    encoding: str
    sample_rate: int
    channels: int


class StartMetadata(msgspec.Struct, frozen=True, rename="camel"):
    """The stream's call, and the custom parameters of our TwiML."""

    account_sid: Sid
    stream_sid: Sid
    call_sid: Sid
    tracks: tuple[str, ...]
    media_format: MediaFormat
    custom_parameters: dict[str, str] = {}


class Start(_Message, frozen=True, tag="start"):
    """The second message, before the audio."""

    sequence_number: int
    stream_sid: Sid
    start: StartMetadata


class AudioPayload(msgspec.Struct, frozen=True, gc=False):
    """A frame of mu-law audio, usually 160 bytes. ``timestamp`` is milliseconds since the stream started."""

    payload: Annotated[bytes, Meta(min_length=1, max_length=MAX_AUDIO_BYTES)]
    track: str = "inbound"
    timestamp: int = 0


class Media(_Message, frozen=True, tag="media", gc=False):
    """A frame of the caller's audio."""

    sequence_number: int
    media: AudioPayload


class Digit(msgspec.Struct, frozen=True):
    """A DTMF digit."""

    digit: Annotated[str, Meta(pattern="^[0-9*#A-D]$")]


class Dtmf(_Message, frozen=True, tag="dtmf"):
    """The caller pressed a key."""

    sequence_number: int
    dtmf: Digit


class MarkName(msgspec.Struct, frozen=True):
    """The name of one of our marks."""

    name: Annotated[str, Meta(max_length=MAX_MARK_LENGTH)]


class Mark(_Message, frozen=True, tag="mark"):
    """The audio before this mark has been played or cleared."""

    sequence_number: int
    mark: MarkName


class Stop(_Message, frozen=True, tag="stop"):
    """The stream has ended: the caller hung up, or the call left the stream."""

    sequence_number: int = 0


Message = Connected | Start | Media | Dtmf | Mark | Stop


class MalformedMessage(ValueError):
    """Not a message of the protocol; the text says why."""


class _EventName(msgspec.Struct):
    event: str


_decoder: msgspec.json.Decoder[Message] = msgspec.json.Decoder(Message, strict=False)  # accepts numbers as strings
_decode = _decoder.decode
_decode_event = msgspec.json.Decoder(_EventName).decode
_KNOWN_EVENTS = ("connected", "start", "media", "dtmf", "mark", "stop")


def parse(text: str | bytes) -> Message | None:
    """Parse a message; return None for an unknown event. Raises MalformedMessage."""
    try:
        return _decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        if _is_unknown_event(text):
            return None
        raise MalformedMessage(str(error)) from error


def _is_unknown_event(text: str | bytes) -> bool:
    try:
        return _decode_event(text).event not in _KNOWN_EVENTS
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return False


def media(stream_sid: str, mulaw: bytes) -> str:
    """Format audio of any length, to be played after what is already buffered."""
    payload = b2a_base64(mulaw, newline=False).decode("ascii")
    return f'{{"event":"media","streamSid":"{stream_sid}","media":{{"payload":"{payload}"}}}}'


def mark(stream_sid: str, name: str) -> str:
    """Format a mark, which Twilio returns when the audio buffered before it has been played."""
    return _encode({"event": "mark", "streamSid": stream_sid, "mark": {"name": name}})


def clear(stream_sid: str) -> str:
    """Format a clear message: Twilio drops the buffered audio and returns its marks."""
    return f'{{"event":"clear","streamSid":"{stream_sid}"}}'


def _encode(message: dict[str, Any]) -> str:
    return msgspec.json.encode(message).decode()
