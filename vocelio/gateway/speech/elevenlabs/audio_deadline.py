"""How long one text's audio may be waited for, without counting the time that the listener takes for it.

The audio must come faster than it sounds, with some seconds to begin with: so a service that stalls and one that
drips both end within a time that can be stated, and a long text may take as long as it needs.
"""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from vocelio.codecs import mulaw
from vocelio.gateway.speech.interfaces import SpeechError

T = TypeVar("T")


class Patience:
    """``seconds`` of waiting, and as many more as there is audio."""

    def __init__(self, seconds: float) -> None:
        self._left = seconds
        self._deadline: asyncio.Timeout | None = None
        self._ended = False

    async def wait_for(self, step: Awaitable[T]) -> T:
        """The outcome of ``step``. Raises SpeechError when that takes too long, or once it has been ended."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            async with asyncio.timeout(0 if self._ended else self._left) as self._deadline:
                outcome = await step
                if not self._ended:
                    return outcome
        except TimeoutError:
            if not self._ended:
                raise SpeechError("ElevenLabs is too slow") from None
        finally:
            self._deadline = None
            self._left -= loop.time() - began
        raise SpeechError("ElevenLabs speech has been closed")

    def reward(self, audio: bytes) -> None:
        """Some audio has come."""
        self._left += len(audio) / mulaw.SAMPLE_RATE

    def end(self) -> None:
        """Whatever is waited for, now or later, fails at once."""
        self._ended = True
        if self._deadline is not None:
            self._deadline.reschedule(asyncio.get_running_loop().time())
