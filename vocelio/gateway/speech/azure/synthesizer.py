"""Speaking with Azure: each text on a line of its own, its sound handed on chunk by chunk as the service makes it."""

import asyncio
from collections.abc import AsyncGenerator

from vocelio.engine.voice import Voice
from vocelio.gateway.config import Azure
from vocelio.gateway.speech.azure import ssml
from vocelio.gateway.speech.azure.connection_pool import Pool
from vocelio.gateway.speech.azure.sdk_resources import Upkeep
from vocelio.gateway.speech.azure.synthesis_stream import Speech
from vocelio.gateway.speech.interfaces import SpeechError, Unsuitable

DEFAULT_LIMIT = 100
"""Lines at once: half of what the service allows a subscription to begin in a second unless more is asked for."""

DEFAULT_WARM = 4
"""Lines that wait, connected: as many texts may begin within the 0.3 s that it takes to connect another."""

MAX_TEXT = 4096
"""Characters in one text: about five minutes of speech, and what Twilio's own ``<Say>`` takes."""

CONNECT_SECONDS = 1.0
"""At the start, until it is asked why there is no connection: only a text that fails says so."""

PROBE = Voice(tier="azure", name="en-US-JennyNeural")
"""Says the text that only asks why there is no connection. That this voice is none does not matter then."""


class AzureSynthesizer:
    """A Synthesizer on the real SDK; a voice's ``name`` is Azure's, such as ``en-US-JennyNeural``.

    At most ``limit`` texts are spoken at once, and ``warm`` lines wait. Used on one event loop.
    """

    def __init__(self, account: Azure, limit: int = DEFAULT_LIMIT, warm: int = DEFAULT_WARM) -> None:
        self._upkeep = Upkeep("azure-synthesis", limit)
        self._pool = Pool(self._upkeep, account, warm)
        self._speaking: set[Speech] = set()  # at most ``limit``

    @property
    def sessions(self) -> int:
        """Lines that are there, speaking or waiting."""
        return self._upkeep.present

    @property
    def stuck(self) -> int:
        """Lines that the SDK has not let go of in ``upkeep.STUCK_SECONDS``."""
        return self._upkeep.stuck

    async def start(self) -> None:
        """Load the SDK and connect. Raises CredentialsRefused or SpeechError; it may work later all the same."""
        slot = self._pool.take()
        try:
            await slot.line()
            async with asyncio.timeout(CONNECT_SECONDS):
                await slot.connected.wait()
        except TimeoutError:
            await self._find_fault()
        finally:
            self._pool.give_back(slot, clean=True)

    async def speak(self, text: str, voice: Voice) -> AsyncGenerator[bytes, None]:
        """See ``Synthesizer.speak``. Raises Unsuitable for a text over MAX_TEXT or a voice that Azure has not."""
        if len(text) > MAX_TEXT:
            raise Unsuitable(f"a text of {len(text)} characters: at most {MAX_TEXT} can be spoken")
        if not (text := ssml.plain(text)):
            return
        document = ssml.markup(text, voice)
        slot, speech = self._pool.take(), Speech()
        self._speaking.add(speech)
        clean = False
        try:
            line = await slot.line(speech)
            await self._upkeep.run(lambda: line.speak(document))
            async for chunk in speech.chunks():
                yield chunk
            await self._upkeep.run(line.settle)
            clean = True
        finally:
            self._speaking.discard(speech)
            self._pool.give_back(slot, clean)

    async def aclose(self) -> None:
        """End what is being said with a failure; see ``Synthesizer.aclose``. Takes a second when the SDK hangs."""
        for speech in self._speaking:
            speech.fail(SpeechError("Azure speech has been closed"))
        self._pool.close()
        await self._upkeep.aclose()

    async def _find_fault(self) -> None:
        try:
            async for _ in self.speak("Hello.", PROBE):
                pass
        except Unsuitable:
            pass  # so it is connected by now
