"""WebSocket connection to realtime recognition, with a deadline for opening and for closing.

The SDK's own client (``speech_to_text.realtime``) is not used: it creates a TLS context for every session on the event
loop (which delays all calls by 25 ms), its ``close`` waits for as long as the service does not read, it prints the
errors of handlers, follows redirects to other hosts with the key, and compresses base64, which gains nothing.
"""

import asyncio
import json
import logging
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus, WebSocketException

from vocelio.gateway.config import ElevenLabsSettings
from vocelio.gateway.speech.elevenlabs import errors, realtime_protocol
from vocelio.gateway.speech.elevenlabs.errors import validate_api_key
from vocelio.gateway.speech.interfaces import SpeechError

CLOSE_TIMEOUT_SECONDS = 0.4
"""For the closing handshake: no call waits for it, but a closing session counts as open."""

MAX_MESSAGE_BYTES = 1 << 16
"""Bytes of one message of the service; the transcript of a minute has a few hundred."""

_WEBSOCKETS_LOG = logging.getLogger(f"{__name__}.wire")
_WEBSOCKETS_LOG.setLevel(logging.WARNING)  # below it websockets logs the request's headers, with the key


class _ConnectWithoutRedirects(connect):
    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc  # the key must not be sent to another host


@asynccontextmanager
async def open_session(
    account: ElevenLabsSettings, url: str, ssl_context: ssl.SSLContext, timeout_seconds: float
) -> AsyncIterator[ClientConnection]:
    """Open a socket and wait until its session has started. Raises SpeechError, also while it is used."""
    key = validate_api_key(account.key)
    socket: ClientConnection | None = None
    try:
        async with asyncio.timeout(timeout_seconds):
            socket = await _ConnectWithoutRedirects(
                url,
                additional_headers={"xi-api-key": key},
                ssl=ssl_context if url.startswith("wss:") else None,
                compression=None,
                open_timeout=None,
                ping_interval=None,  # a late final transcript shows a dead connection as well as a missing pong would
                close_timeout=CLOSE_TIMEOUT_SECONDS,
                max_size=MAX_MESSAGE_BYTES,
                logger=_WEBSOCKETS_LOG,
            )
            await _expect_session_started(socket)
        yield socket
    except InvalidStatus as error:
        raise errors.from_status(error.response.status_code, _decode_json(error.response.body)) from None
    except TimeoutError:
        raise SpeechError(f"ElevenLabs did not start the recognition within {timeout_seconds:g} s") from None
    except (OSError, WebSocketException) as error:
        raise SpeechError(f"the connection to ElevenLabs was lost: {type(error).__name__}") from error
    finally:
        if socket is not None:
            await _close(socket)


async def _expect_session_started(socket: ClientConnection) -> None:
    match realtime_protocol.parse_message(await socket.recv()):
        case realtime_protocol.SessionFailed(name):
            raise errors.from_message(name)
        case realtime_protocol.SessionStarted():
            return
    raise SpeechError("ElevenLabs did not start the recognition")


async def _close(socket: ClientConnection) -> None:
    """Close with a deadline: ``close`` alone would wait forever behind audio that the service does not read."""
    try:
        async with asyncio.timeout(CLOSE_TIMEOUT_SECONDS):
            await socket.close()
    except TimeoutError:
        return
    finally:
        socket.transport.abort()


def _decode_json(body: bytes | bytearray | None) -> object:
    try:
        return json.loads(body or b"null")
    except ValueError:
        return None
