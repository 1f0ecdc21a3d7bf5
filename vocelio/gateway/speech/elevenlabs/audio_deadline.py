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


class AudioDeadline:
    """``seconds`` of waiting, and as many more as there is audio."""

    def __init__(self, seconds: float) -> None:
        self._remaining_seconds = seconds
        self._timeout: asyncio.Timeout | None = None
        self._expired = False

    async def wait_for(self, step: Awaitable[T]) -> T:
        """The outcome of ``step``. Raises SpeechError when that takes too long, or once it has been ended."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            async with asyncio.timeout(0 if self._expired else self._remaining_seconds) as self._timeout:
                outcome = await step
                if not self._expired:
                    return outcome
        except TimeoutError:
            if not self._expired:
                raise SpeechError("ElevenLabs is too slow") from None
        finally:
            self._timeout = None
            self._remaining_seconds -= loop.time() - began
        raise SpeechError("ElevenLabs speech has been closed")

    def extend(self, audio: bytes) -> None:
        """Some audio has come."""
        self._remaining_seconds += len(audio) / mulaw.SAMPLE_RATE

    def expire(self) -> None:
        """Whatever is waited for, now or later, fails at once."""
        self._expired = True
        if self._timeout is not None:
            self._timeout.reschedule(asyncio.get_running_loop().time())
