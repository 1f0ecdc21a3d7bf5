"""Messages of Azure's speech protocol: header lines and a body.

In a text message, an empty line separates them. A binary message starts with the length of its header lines, as two
bytes in network order. https://learn.microsoft.com/azure/cognitive-services/speech/api-reference-rest/websocketprotocol
"""

import json
import struct
from dataclasses import dataclass

from aiohttp import WSMsgType

MULAW_TAG = 7
"""Format tag of mu-law in a RIFF header."""


@dataclass(frozen=True)
class Message:
    """A message of the client; ``request`` identifies its turn."""

    path: str
    request: str
    body: bytes

    def json(self):
        """Decode the JSON body."""
        return json.loads(self.body)


def parse(frame):
    """Parse a WebSocket frame. Raises ValueError."""
    if frame.type is WSMsgType.TEXT:
        head, separator, text = frame.data.partition("\r\n\r\n")
        if not separator:
            raise ValueError("a text message without an empty line")
        body = text.encode()
    elif frame.type is WSMsgType.BINARY and len(frame.data) >= 2:
        (length,) = struct.unpack_from(">H", frame.data)
        head, body = frame.data[2 : 2 + length].decode("ascii"), frame.data[2 + length :]
    else:
        raise ValueError("not a message of this protocol")
    headers = dict(line.split(":", 1) for line in head.split("\r\n") if line)
    headers = {name.strip().lower(): value.strip() for name, value in headers.items()}
    return Message(headers["path"].lower(), headers.get("x-requestid", ""), body)


def text(path, request, body):
    """Format a text message to the client."""
    head = f"X-RequestId:{request}\r\nContent-Type:application/json; charset=utf-8\r\nPath:{path}"
    return f"{head}\r\n\r\n{json.dumps(body)}"


def binary(path, request, stream, body):
    """Format a binary message to the client."""
    head = f"X-RequestId:{request}\r\nContent-Type:audio/basic\r\nX-StreamId:{stream}\r\nPath:{path}\r\n".encode()
    return struct.pack(">H", len(head)) + head + body


def is_turn_end(message):
    """Return whether a text message is the last of its turn."""
    return "Path:turn.end\r\n" in message


def mulaw_of(first):
    """Return the audio after the RIFF header of a stream's first message. Raises ValueError if it is not mu-law."""
    tag, channels, rate = struct.unpack_from("<HHI", first, 20)
    if first[:4] != b"RIFF" or (tag, channels, rate) != (MULAW_TAG, 1, 8000):
        raise ValueError("the audio is not 8 kHz mu-law")
    return first[first.index(b"data") + 8 :]
