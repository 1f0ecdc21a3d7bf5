"""Creates an account's client on first use, in a thread: importing the SDK would block the event loop for 1 s."""

import asyncio
import logging
from typing import TYPE_CHECKING

from vocelio.gateway.config import ElevenLabsSettings
from vocelio.gateway.speech.interfaces import SpeechError

if TYPE_CHECKING:
    from vocelio.gateway.speech.elevenlabs.client import Client

LOG = logging.getLogger(__name__)

CLOSE_TIMEOUT_SECONDS = 0.5
"""For closing the connections, which should not wait for the service."""


class LazyClient:
    """Creates one Client. ``timeout_seconds`` bounds each step of a request, and ``verify_key`` as a whole."""

    def __init__(self, account: ElevenLabsSettings, max_connections: int, timeout_seconds: float) -> None:
        self._account, self._max_connections, self._timeout_seconds = account, max_connections, timeout_seconds
        self._load_task: asyncio.Task[Client] | None = None
        self._closed = False

    async def get(self) -> "Client":
        """Return the client. Raises SpeechError if the key is invalid, the SDK is missing, or this was closed."""
        if self._closed:
            raise SpeechError("ElevenLabs has been closed")
        if self._load_task is None:
            load = asyncio.to_thread(_create_client, self._account, self._max_connections, self._timeout_seconds)
            self._load_task = asyncio.create_task(load)
        return await asyncio.shield(self._load_task)  # one caller's cancellation must not cancel it for the others

    async def verify_key(self) -> None:
        """Connect and check that the service accepts the key. Raises SpeechError; may be retried."""
        client = await self.get()
        try:
            async with asyncio.timeout(self._timeout_seconds):
                await client.verify_key()
        except TimeoutError:
            raise SpeechError(f"ElevenLabs did not respond within {self._timeout_seconds:g} s") from None

    async def aclose(self) -> None:
        """Close every connection at once, so that requests fail. Waits for an import, which cannot be stopped."""
        self._closed = True
        if self._load_task is None:
            return
        try:
            client = await asyncio.shield(self._load_task)
            async with asyncio.timeout(CLOSE_TIMEOUT_SECONDS):
                await client.aclose()
        except (TimeoutError, SpeechError):
            return


def _create_client(account: ElevenLabsSettings, max_connections: int, timeout_seconds: float) -> "Client":
    try:
        from vocelio.gateway.speech.elevenlabs.client import Client
    except ImportError as error:
        raise SpeechError("the ElevenLabs SDK is not installed: pip install elevenlabs") from error
    try:
        return Client(account, max_connections, timeout_seconds)
    except SpeechError:
        raise
    except Exception as error:  # the environment: a proxy, certificates
        LOG.exception("the ElevenLabs client could not be created; ElevenLabs is not used")
        raise SpeechError("the ElevenLabs client could not be created; the log has the details") from error
