"""The protocol of a Media Streams socket, sans-IO: states, allowed messages, sequence numbers.

TRANSITIONS is the whole state machine; a message without a row for the present state is the peer's error. Sequence
numbers may have gaps (Twilio drops audio for a slow reader, error 31930) but never decrease.
"""

from enum import Enum

from vocelio.gateway.close_codes import CloseCode
from vocelio.gateway.media import messages
from vocelio.gateway.media.messages import Connected, Dtmf, MalformedMessage, Mark, Media, Start, Stop


class StreamError(Exception):
    """The peer violated the protocol: the socket must be closed with ``code``; the text is the reason."""

    def __init__(self, code: CloseCode, reason: str) -> None:
        self.code = code
        super().__init__(reason)


class StreamState(Enum):
    """The states of a stream."""

    OPENED = "opened"
    CONNECTED = "connected"
    STREAMING = "streaming"
    STOPPED = "stopped"


TRANSITIONS: dict[tuple[StreamState, type], StreamState] = {
    (StreamState.OPENED, Connected): StreamState.CONNECTED,
    (StreamState.CONNECTED, Start): StreamState.STREAMING,
    (StreamState.STREAMING, Media): StreamState.STREAMING,
    (StreamState.STREAMING, Dtmf): StreamState.STREAMING,
    (StreamState.STREAMING, Mark): StreamState.STREAMING,
    (StreamState.STREAMING, Stop): StreamState.STOPPED,
    (StreamState.CONNECTED, Stop): StreamState.STOPPED,
}


class MediaStream:
    """The state machine of one stream; give it every message of the socket, in order."""

    def __init__(self) -> None:
        self.state = StreamState.OPENED
        self.missing_messages = 0
        """Messages that were not received: the gaps in the sequence numbers."""
        self._last_sequence = 0

    def receive(self, text: str | bytes) -> messages.Message | None:
        """Parse and check a message; return None if it can be ignored. Raises StreamError."""
        try:
            message = messages.parse(text)
        except MalformedMessage as error:
            raise StreamError(CloseCode.INVALID_PAYLOAD, f"malformed message: {error}"[:120]) from error
        if message is None:
            return None
        kind = type(message)
        state = TRANSITIONS.get((self.state, kind))
        if state is None:
            raise StreamError(
                CloseCode.PROTOCOL_ERROR, f"{kind.__name__.lower()} may not come while {self.state.value}"
            )
        self.state = state
        if kind is Connected:
            return message
        self._check_sequence(message)
        if kind is Media:
            return message if message.media.track == "inbound" else None  # type: ignore[union-attr]
        if isinstance(message, Start):
            self._check_format(message)
        return message

    def _check_sequence(self, message: messages.Message) -> None:
        sequence: int = message.sequence_number  # type: ignore[union-attr]
        if sequence == self._last_sequence + 1:
            self._last_sequence = sequence
        elif sequence > self._last_sequence:
            self.missing_messages += sequence - self._last_sequence - 1
            self._last_sequence = sequence
        elif not isinstance(message, Stop):
            raise StreamError(CloseCode.PROTOCOL_ERROR, f"sequence number {sequence} after {self._last_sequence}")

    def _check_format(self, message: Start) -> None:
        audio = message.start.media_format
        if (audio.encoding, audio.sample_rate, audio.channels) != ("audio/x-mulaw", 8000, 1):
            raise StreamError(
                CloseCode.UNSUPPORTED_DATA, f"audio is {audio.encoding} at {audio.sample_rate} Hz, not mu-law"
            )
        if message.start.stream_sid != message.stream_sid:
            raise StreamError(CloseCode.INVALID_PAYLOAD, "the message and its start name different streams")
