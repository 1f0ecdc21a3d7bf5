"""Media Streams messages from Twilio's side: JSON text in which numbers are strings.

Media messages are formatted by hand: 100 calls in a process send 5,000 of them per second.
"""

import base64
import json
from collections.abc import Mapping

import msgspec

from vocelio.codecs import mulaw

SAMPLE_RATE = mulaw.SAMPLE_RATE
FRAME_MS = 20
FRAME_SECONDS = FRAME_MS / 1000
FRAME_SAMPLES = SAMPLE_RATE * FRAME_MS // 1000

SILENT_FRAME = bytes([mulaw.SILENCE_BYTE]) * FRAME_SAMPLES
SILENT_PAYLOAD = base64.b64encode(SILENT_FRAME).decode()


class MediaBody(msgspec.Struct, frozen=True):
    payload: bytes  # msgspec decodes the base64


class MarkBody(msgspec.Struct, frozen=True):
    name: str


class IncomingMessage(msgspec.Struct, frozen=True):
    """A message from the server. Members of other events than its own are ignored."""

    event: str
    stream_sid: str = msgspec.field(name="streamSid", default="")
    media: MediaBody | None = None
    mark: MarkBody | None = None


_decoder = msgspec.json.Decoder(IncomingMessage)


def decode(text: str) -> IncomingMessage:
    """Decode a message. Raises msgspec.MsgspecError, also for invalid JSON."""
    return _decoder.decode(text)


def encode_payload(audio: bytes) -> str:
    """Encode mu-law as base64."""
    return SILENT_PAYLOAD if audio is SILENT_FRAME else base64.b64encode(audio).decode()


class MessageWriter:
    """Writes the messages of one stream, numbered from 1; ``connected`` precedes them and has no number."""

    def __init__(self, account_sid: str, call_sid: str, stream_sid: str, parameters: Mapping[str, str]) -> None:
        self._account_sid = account_sid
        self._call_sid = call_sid
        self._stream_sid = stream_sid
        self._parameters = dict(parameters)
        self._sequence = 0
        self._chunk = 0

    def connected(self) -> str:
        return json.dumps({"event": "connected", "protocol": "Call", "version": "1.0.0"})

    def start(self) -> str:
        start = {
            "accountSid": self._account_sid,
            "streamSid": self._stream_sid,
            "callSid": self._call_sid,
            "tracks": ["inbound"],
            "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": SAMPLE_RATE, "channels": 1},
            "customParameters": self._parameters,
        }
        return self._message("start", start)

    def media(self, payload: str) -> str:
        """Format one frame of the caller; its timestamp is milliseconds of audio since the start of the stream."""
        self._sequence += 1
        self._chunk += 1
        return (
            f'{{"event":"media","sequenceNumber":"{self._sequence}","streamSid":"{self._stream_sid}","media":{{'
            f'"track":"inbound","chunk":"{self._chunk}","timestamp":"{self._chunk * FRAME_MS}",'
            f'"payload":"{payload}"}}}}'
        )

    def dtmf(self, digit: str) -> str:
        return self._message("dtmf", {"track": "inbound_track", "digit": digit})

    def mark(self, name: str) -> str:
        return self._message("mark", {"name": name})

    def stop(self) -> str:
        return self._message("stop", {"accountSid": self._account_sid, "callSid": self._call_sid})

    def _message(self, event: str, body: Mapping[str, object]) -> str:
        self._sequence += 1
        return json.dumps(
            {"event": event, "sequenceNumber": str(self._sequence), "streamSid": self._stream_sid, event: body}
        )
