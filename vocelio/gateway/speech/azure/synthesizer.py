"""Speech synthesis with Azure: SSML documents, each on a connection of its own, and their audio chunk by chunk."""

import asyncio
import re
from collections.abc import AsyncGenerator
from xml.etree.ElementTree import Element, SubElement, tostring

from vocelio.engine.voice import Voice
from vocelio.gateway.config import AzureSettings
from vocelio.gateway.speech.azure.connection_pool import SynthesisConnectionPool
from vocelio.gateway.speech.azure.sdk_resources import SdkResourceManager
from vocelio.gateway.speech.azure.synthesis_stream import SynthesisStream
from vocelio.gateway.speech.interfaces import RequestNotSupported, SpeechError

DEFAULT_MAX_CONNECTIONS = 100
"""Concurrent connections: half of what the service lets a subscription open per second by default."""

DEFAULT_MIN_IDLE = 4
"""Idle connections: as many texts may start within the 0.3 s that it takes to open another."""

MAX_TEXT_LENGTH = 4096
"""Characters of a text: about five minutes of speech, and what Twilio's own ``<Say>`` takes."""

CONNECT_TIMEOUT_SECONDS = 1.0
"""On start; after that a text is spoken to find the reason, since only the failure of a text has one."""

PROBE_VOICE = Voice(tier="azure", name="en-US-JennyNeural")
"""For the text that finds the reason. It does not matter whether the subscription has this voice."""

MIN_SPEED, MAX_SPEED = 0.5, 2.0
"""Limits of a voice's speed, as a multiple of the normal one."""

LEADING_SILENCE, TRAILING_SILENCE = "20ms", "150ms"
"""Silence around a text, instead of about 0.1 and 0.8 s, so that texts follow one another like sentences."""

_NAMESPACES = {
    "xmlns": "http://www.w3.org/2001/10/synthesis",
    "xmlns:mstts": "https://www.w3.org/2001/mstts",
}

_INVALID_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 does not allow (section 2.2): control characters and unpaired surrogates."""


class AzureSynthesizer:
    """Synthesizes with the SDK; a voice's ``name`` is Azure's, such as ``en-US-JennyNeural``.

    Speaks at most ``max_connections`` texts at once, and keeps ``min_idle`` connections open. Used on one event loop.
    """

    def __init__(
        self, account: AzureSettings, max_connections: int = DEFAULT_MAX_CONNECTIONS, min_idle: int = DEFAULT_MIN_IDLE
    ) -> None:
        self._resources = SdkResourceManager("azure-synthesis", max_connections)
        self._pool = SynthesisConnectionPool(self._resources, account, min_idle)
        self._streams: set[SynthesisStream] = set()  # at most ``max_connections``

    @property
    def sessions(self) -> int:
        """Number of connections, speaking or idle."""
        return self._resources.active

    @property
    def stuck(self) -> int:
        """Number of connections that the SDK has not torn down within ``sdk_resources.STUCK_AFTER_SECONDS``."""
        return self._resources.stuck

    async def start(self) -> None:
        """Load the SDK and connect. Raises SpeechError; the synthesizer may still work later."""
        connection = self._pool.acquire()
        try:
            await connection.attach()
            async with asyncio.timeout(CONNECT_TIMEOUT_SECONDS):
                await connection.connected.wait()
        except TimeoutError:
            await self._diagnose_connection()
        finally:
            self._pool.release(connection, reusable=True)

    async def speak(self, text: str, voice: Voice, tenant: str = "") -> AsyncGenerator[bytes, None]:
        """Yield the audio. Raises RequestNotSupported for a text over MAX_TEXT_LENGTH or an unknown voice."""
        if len(text) > MAX_TEXT_LENGTH:
            raise RequestNotSupported(f"the text has {len(text)} characters; at most {MAX_TEXT_LENGTH} can be spoken")
        if not (text := strip_invalid_xml(text)):
            return
        document = build_ssml(text, voice)
        connection, stream = self._pool.acquire(), SynthesisStream()
        self._streams.add(stream)
        completed = False
        try:
            sdk_connection = await connection.attach(stream)
            await self._resources.run(lambda: sdk_connection.speak(document))
            async for chunk in stream.chunks():
                yield chunk
            await self._resources.run(sdk_connection.release_result)
            completed = True
        finally:
            self._streams.discard(stream)
            self._pool.release(connection, completed)

    async def aclose(self) -> None:
        """End every synthesis with an error. Takes a second if the SDK hangs."""
        for stream in self._streams:
            stream.fail(SpeechError("Azure speech has been closed"))
        self._pool.close()
        await self._resources.aclose()

    async def _diagnose_connection(self) -> None:
        """Raise the reason why there is no connection."""
        try:
            async for _ in self.speak("Hello.", PROBE_VOICE):
                pass
        except RequestNotSupported:
            pass  # connected by now


def strip_invalid_xml(text: str) -> str:
    """Remove characters that XML does not allow, and surrounding whitespace."""
    return _INVALID_XML.sub("", text).strip()


def build_ssml(text: str, voice: Voice) -> str:
    """Build the SSML document for a text without invalid characters. Nothing in the text is taken for markup."""
    speak = Element("speak", {"version": "1.0", **_NAMESPACES, "xml:lang": voice.language})
    spoken = SubElement(speak, "voice", {"name": strip_invalid_xml(voice.name)})
    SubElement(spoken, "mstts:silence", {"type": "Leading-exact", "value": LEADING_SILENCE})
    SubElement(spoken, "mstts:silence", {"type": "Tailing-exact", "value": TRAILING_SILENCE})
    speed = min(max(voice.speed, MIN_SPEED), MAX_SPEED)
    styled = SubElement(spoken, "mstts:express-as", {"style": voice.style}) if voice.style else spoken
    SubElement(styled, "prosody", {"rate": f"{(speed - 1) * 100:+.0f}%"}).text = text
    return tostring(speak, encoding="unicode")
