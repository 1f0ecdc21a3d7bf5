"""The messages of Azure's speech protocol: header lines, then a body.

In a text message an empty line parts the two. A binary message begins with the length of its header lines, two
bytes with the high one first. https://learn.microsoft.com/azure/cognitive-services/speech/api-reference-rest/websocketprotocol
"""

import json
import struct
from dataclasses import dataclass

from aiohttp import WSMsgType

MULAW_TAG = 7
"""The format tag of mu-law in a RIFF header."""


@dataclass(frozen=True)
class Message:
    """What a client sent; ``request`` is the turn it belongs to."""

    path: str
    request: str
    body: bytes

    def json(self):
        """The body as an object."""
        return json.loads(self.body)


def parse(frame):
    """A WebSocket frame as a Message; ValueError when it is none."""
    if frame.type is WSMsgType.TEXT:
        head, gap, text = frame.data.partition("\r\n\r\n")
        if not gap:
            raise ValueError("a text message without an empty line")
        body = text.encode()
    elif frame.type is WSMsgType.BINARY and len(frame.data) >= 2:
        (length,) = struct.unpack_from(">H", frame.data)
        head, body = frame.data[2 : 2 + length].decode("ascii"), frame.data[2 + length :]
    else:
        raise ValueError("no message of this protocol")
    headers = dict(line.split(":", 1) for line in head.split("\r\n") if line)
    headers = {name.strip().lower(): value.strip() for name, value in headers.items()}
    return Message(headers["path"].lower(), headers.get("x-requestid", ""), body)


def text(path, request, body):
    """A text message to the client."""
    head = f"X-RequestId:{request}\r\nContent-Type:application/json; charset=utf-8\r\nPath:{path}"
    return f"{head}\r\n\r\n{json.dumps(body)}"


def binary(path, request, stream, body):
    """A binary message to the client."""
    head = f"X-RequestId:{request}\r\nContent-Type:audio/basic\r\nX-StreamId:{stream}\r\nPath:{path}\r\n".encode()
    return struct.pack(">H", len(head)) + head + body


def is_turn_end(message):
    """Whether a text message is the last of its turn."""
    return "Path:turn.end\r\n" in message


def mulaw_of(first):
    """The sound in a stream's first message: what follows its RIFF header. ValueError when that is not mu-law."""
    tag, channels, rate = struct.unpack_from("<HHI", first, 20)
    if first[:4] != b"RIFF" or (tag, channels, rate) != (MULAW_TAG, 1, 8000):
        raise ValueError("the sound is not 8 kHz mu-law")
    return first[first.index(b"data") + 8 :]
