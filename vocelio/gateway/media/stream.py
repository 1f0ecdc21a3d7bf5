"""One Media Streams socket, sans-IO: which message may come when, and what the peer did wrong.

The life of a stream is the table below; a message that has no row for the present state is the peer's error.
Sequence numbers may have gaps (Twilio drops audio for a slow reader, error 31930) but never go back.
"""

from enum import Enum

from vocelio.gateway.media import messages
from vocelio.gateway.media.messages import Connected, Dtmf, Malformed, Mark, Media, Start, Stop

CLOSE_NORMAL = 1000
CLOSE_PROTOCOL = 1002  # RFC 6455, 7.4.1: a message that may not come now
CLOSE_UNSUPPORTED = 1003  # audio that is not what was agreed
CLOSE_INVALID = 1007  # not JSON, not base64, not a message
CLOSE_POLICY = 1008  # not allowed to be here
CLOSE_TROUBLE = 1011  # ours


class StreamError(Exception):
    """The peer broke the protocol: close the socket with ``code``; the text is the reason."""

    def __init__(self, code: int, reason: str) -> None:
        self.code = code
        super().__init__(reason)


class State(Enum):
    """Where a stream is in its life."""

    OPENED = "opened"
    CONNECTED = "connected"
    STREAMING = "streaming"
    STOPPED = "stopped"


TRANSITIONS: dict[tuple[State, type], State] = {
    (State.OPENED, Connected): State.CONNECTED,
    (State.CONNECTED, Start): State.STREAMING,
    (State.STREAMING, Media): State.STREAMING,
    (State.STREAMING, Dtmf): State.STREAMING,
    (State.STREAMING, Mark): State.STREAMING,
    (State.STREAMING, Stop): State.STOPPED,
    (State.CONNECTED, Stop): State.STOPPED,
}


class MediaStream:
    """Feed it every message of the socket, in order."""

    def __init__(self) -> None:
        self.state = State.OPENED
        self.missing = 0
        """Messages that never came: the gaps in the sequence numbers."""
        self._sequence = 0

    def receive(self, text: str | bytes) -> messages.Message | None:
        """The message, or None where there is nothing to do. Raises StreamError."""
        try:
            message = messages.parse(text)
        except Malformed as error:
            raise StreamError(CLOSE_INVALID, f"malformed message: {error}"[:120]) from error
        if message is None:
            return None
        kind = type(message)
        state = TRANSITIONS.get((self.state, kind))
        if state is None:
            raise StreamError(CLOSE_PROTOCOL, f"{kind.__name__.lower()} may not come while {self.state.value}")
        self.state = state
        if kind is Connected:
            return message
        self._count(message)
        if kind is Media:
            return message if message.media.track == "inbound" else None  # type: ignore[union-attr]
        if isinstance(message, Start):
            self._check_format(message)
        return message

    def _count(self, message: messages.Message) -> None:
        sequence: int = message.sequence_number  # type: ignore[union-attr]
        if sequence == self._sequence + 1:
            self._sequence = sequence
        elif sequence > self._sequence:
            self.missing += sequence - self._sequence - 1
            self._sequence = sequence
        elif not isinstance(message, Stop):
            raise StreamError(CLOSE_PROTOCOL, f"sequence number {sequence} after {self._sequence}")

    def _check_format(self, message: Start) -> None:
        found = message.start.media_format
        if (found.encoding, found.sample_rate, found.channels) != ("audio/x-mulaw", 8000, 1):
            raise StreamError(CLOSE_UNSUPPORTED, f"audio is {found.encoding} at {found.sample_rate} Hz, not mu-law")
        if message.start.stream_sid != message.stream_sid:
            raise StreamError(CLOSE_INVALID, "the message and its start name different streams")
