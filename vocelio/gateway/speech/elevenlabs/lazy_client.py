"""One account's connection pool, made when first needed, in a thread: importing the SDK would stop the loop for 1 s."""

import asyncio
import logging
from typing import TYPE_CHECKING

from vocelio.gateway.config import ElevenLabsSettings
from vocelio.gateway.speech.interfaces import SpeechError

if TYPE_CHECKING:
    from vocelio.gateway.speech.elevenlabs.client import Client

LOG = logging.getLogger(__name__)

CLOSE_TIMEOUT_SECONDS = 0.5
"""For closing the connections, which waits for nobody; a bound all the same."""


class LazyClient:
    """Gives out the one Client. ``wait`` seconds bound each step of a request, and ``check`` as a whole."""

    def __init__(self, account: ElevenLabsSettings, max_connections: int, timeout_seconds: float) -> None:
        self._account, self._max_connections, self._timeout_seconds = account, max_connections, timeout_seconds
        self._load_task: asyncio.Task[Client] | None = None
        self._closed = False

    async def get(self) -> "Client":
        """The client. Raises SpeechError when there is none to be had: no usable key, no SDK, or closed."""
        if self._closed:
            raise SpeechError("ElevenLabs has been closed")
        if self._load_task is None:
            load = asyncio.to_thread(_create_client, self._account, self._max_connections, self._timeout_seconds)
            self._load_task = asyncio.create_task(load)
        return await asyncio.shield(self._load_task)  # whoever gives up leaves it to the others

    async def verify_key(self) -> None:
        """See whether the service knows the key, and be connected. Raises SpeechError; may be tried again."""
        client = await self.get()
        try:
            async with asyncio.timeout(self._timeout_seconds):
                await client.verify_key()
        except TimeoutError:
            raise SpeechError(f"ElevenLabs did not answer within {self._timeout_seconds:g} s") from None

    async def aclose(self) -> None:
        """Close every connection at once; what is going on there fails. Waits for an import, which nothing can stop."""
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
    except Exception as error:  # of what the machine is set to: a proxy, certificates
        LOG.exception("the client of ElevenLabs cannot be made")
        raise SpeechError("the client of ElevenLabs cannot be made; the log says why") from error
