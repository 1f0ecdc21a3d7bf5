"""Speaking with Azure: each text on a line of its own, its sound handed on chunk by chunk as the service makes it.

A text as Azure's speech markup (SSML).
"""

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
"""Lines at once: half of what the service allows a subscription to begin in a second unless more is asked for."""

DEFAULT_MIN_IDLE = 4
"""Lines that wait, connected: as many texts may begin within the 0.3 s that it takes to connect another."""

MAX_TEXT_LENGTH = 4096
"""Characters in one text: about five minutes of speech, and what Twilio's own ``<Say>`` takes."""

CONNECT_TIMEOUT_SECONDS = 1.0
"""At the start, until it is asked why there is no connection: only a text that fails says so."""

PROBE_VOICE = Voice(tier="azure", name="en-US-JennyNeural")
"""Says the text that only asks why there is no connection. That this voice is none does not matter then."""


class AzureSynthesizer:
    """A Synthesizer on the real SDK; a voice's ``name`` is Azure's, such as ``en-US-JennyNeural``.

    At most ``limit`` texts are spoken at once, and ``warm`` lines wait. Used on one event loop.
    """

    def __init__(
        self, account: AzureSettings, max_connections: int = DEFAULT_MAX_CONNECTIONS, min_idle: int = DEFAULT_MIN_IDLE
    ) -> None:
        self._resources = SdkResourceManager("azure-synthesis", max_connections)
        self._pool = SynthesisConnectionPool(self._resources, account, min_idle)
        self._streams: set[SynthesisStream] = set()  # at most ``limit``

    @property
    def sessions(self) -> int:
        """Lines that are there, speaking or waiting."""
        return self._resources.active

    @property
    def stuck(self) -> int:
        """Lines that the SDK has not let go of in ``upkeep.STUCK_SECONDS``."""
        return self._resources.stuck

    async def start(self) -> None:
        """Load the SDK and connect. Raises CredentialsRefused or SpeechError; it may work later all the same."""
        slot = self._pool.acquire()
        try:
            await slot.attach()
            async with asyncio.timeout(CONNECT_TIMEOUT_SECONDS):
                await slot.connected.wait()
        except TimeoutError:
            await self._diagnose_connection()
        finally:
            self._pool.release(slot, reusable=True)

    async def speak(self, text: str, voice: Voice) -> AsyncGenerator[bytes, None]:
        """See ``Synthesizer.speak``. Raises Unsuitable for a text over MAX_TEXT or a voice that Azure has not."""
        if len(text) > MAX_TEXT_LENGTH:
            raise RequestNotSupported(f"a text of {len(text)} characters: at most {MAX_TEXT_LENGTH} can be spoken")
        if not (text := strip_invalid_xml(text)):
            return
        document = build_ssml(text, voice)
        slot, speech = self._pool.acquire(), SynthesisStream()
        self._streams.add(speech)
        clean = False
        try:
            line = await slot.attach(speech)
            await self._resources.run(lambda: line.speak(document))
            async for chunk in speech.chunks():
                yield chunk
            await self._resources.run(line.release_result)
            clean = True
        finally:
            self._streams.discard(speech)
            self._pool.release(slot, clean)

    async def aclose(self) -> None:
        """End what is being said with a failure; see ``Synthesizer.aclose``. Takes a second when the SDK hangs."""
        for speech in self._streams:
            speech.fail(SpeechError("Azure speech has been closed"))
        self._pool.close()
        await self._resources.aclose()

    async def _diagnose_connection(self) -> None:
        try:
            async for _ in self.speak("Hello.", PROBE_VOICE):
                pass
        except RequestNotSupported:
            pass  # so it is connected by now


MIN_SPEED, MAX_SPEED = 0.5, 2.0
"""Times its normal speed that a voice can speak; a speed outside is limited to them."""

LEADING_SILENCE, TRAILING_SILENCE = "20ms", "150ms"
"""Silence around a text, instead of about 0.1 and 0.8 s: texts follow one another as sentences do."""

_NAMESPACES = {
    "xmlns": "http://www.w3.org/2001/10/synthesis",
    "xmlns:mstts": "https://www.w3.org/2001/mstts",
}

_INVALID_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 cannot hold, section 2.2: control characters, and halves of surrogate pairs."""


def strip_invalid_xml(text: str) -> str:
    """The text without the characters that XML cannot hold and without space around it."""
    return _INVALID_XML.sub("", text).strip()


def build_ssml(text: str, voice: Voice) -> str:
    """The document in which ``voice`` says a text that is ``plain``. Nothing in the text is taken for markup."""
    speak = Element("speak", {"version": "1.0", **_NAMESPACES, "xml:lang": voice.language})
    spoken = SubElement(speak, "voice", {"name": strip_invalid_xml(voice.name)})
    SubElement(spoken, "mstts:silence", {"type": "Leading-exact", "value": LEADING_SILENCE})
    SubElement(spoken, "mstts:silence", {"type": "Tailing-exact", "value": TRAILING_SILENCE})
    speed = min(max(voice.speed, MIN_SPEED), MAX_SPEED)
    styled = SubElement(spoken, "mstts:express-as", {"style": voice.style}) if voice.style else spoken
    SubElement(styled, "prosody", {"rate": f"{(speed - 1) * 100:+.0f}%"}).text = text
    return tostring(speak, encoding="unicode")
