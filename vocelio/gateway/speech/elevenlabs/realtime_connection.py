"""One WebSocket to the realtime recognition, from its opening to its end, each with a deadline.

The SDK's own client (``speech_to_text.realtime``) is not used. It makes a TLS context for every session, on the
event loop (25 ms for all calls); its ``close`` waits for the service as long as that does not read; it prints what
a handler raises, follows a redirect to another host with the key, and compresses what base64 made incompressible.
"""

import asyncio
import json
import logging
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus, WebSocketException

from vocelio.gateway.config import ElevenLabs
from vocelio.gateway.speech.elevenlabs import errors, realtime_protocol
from vocelio.gateway.speech.elevenlabs.errors import sendable
from vocelio.gateway.speech.interfaces import SpeechError

CLOSE_SECONDS = 0.4
"""For the closing handshake: nobody waits for it, but what is still closing counts as open."""

MAX_MESSAGE = 1 << 16
"""Bytes in one message of the service; a transcript of a minute has a few hundred."""

_quiet = logging.getLogger(f"{__name__}.wire")
_quiet.setLevel(logging.WARNING)  # below it websockets logs the request's headers, with the key, and every message


class _Connect(connect):
    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc  # the key goes nowhere else


@asynccontextmanager
async def opened(account: ElevenLabs, url: str, tls: ssl.SSLContext, wait: float) -> AsyncIterator[ClientConnection]:
    """A socket whose session has started, within ``wait`` seconds. Raises SpeechError, also from its use."""
    key = sendable(account.key)
    socket: ClientConnection | None = None
    try:
        async with asyncio.timeout(wait):
            socket = await _Connect(
                url,
                additional_headers={"xi-api-key": key},
                ssl=tls if url.startswith("wss:") else None,
                compression=None,
                open_timeout=None,
                ping_interval=None,  # a final that does not come in time says as much as a missing pong
                close_timeout=CLOSE_SECONDS,
                max_size=MAX_MESSAGE,
                logger=_quiet,
            )
            await _started(socket)
        yield socket
    except InvalidStatus as error:
        raise errors.from_status(error.response.status_code, _json(error.response.body)) from None
    except TimeoutError:
        raise SpeechError(f"ElevenLabs did not begin the recognition within {wait:g} s") from None
    except (OSError, WebSocketException) as error:
        raise SpeechError(f"the connection to ElevenLabs was lost: {type(error).__name__}") from error
    finally:
        if socket is not None:
            await _close(socket)


async def _started(socket: ClientConnection) -> None:
    match realtime_protocol.parse(await socket.recv()):
        case realtime_protocol.Failed(name):
            raise errors.from_message(name)
        case realtime_protocol.Started():
            return
    raise SpeechError("ElevenLabs did not begin the recognition as it should")


async def _close(socket: ClientConnection) -> None:
    """``close`` alone would wait for ever behind sound that the service does not read."""
    try:
        async with asyncio.timeout(CLOSE_SECONDS):
            await socket.close()
    except TimeoutError:
        return
    finally:
        socket.transport.abort()


def _json(body: bytes | bytearray | None) -> object:
    try:
        return json.loads(body or b"null")
    except ValueError:
        return None
