"""Speaking with an ElevenLabs voice: one streaming request for each text, over connections that are kept.

The service's plans bound how many requests there may be at once; it answers 429 past that. Nothing here queues:
who cannot be served now is told so, and has other voices to fall back on.

How long one text's audio may be waited for, without counting the time that the listener takes for it.

The audio must come faster than it sounds, with some seconds to begin with: so a service that stalls and one that
drips both end within a time that can be stated, and a long text may take as long as it needs.
"""

import asyncio
import re
from collections.abc import AsyncGenerator, Awaitable, Iterator
from contextlib import AsyncExitStack, contextmanager
from typing import TYPE_CHECKING, TypeVar

from vocelio.codecs import mulaw
from vocelio.engine.voice import Voice
from vocelio.gateway.config import ElevenLabsSettings
from vocelio.gateway.speech.elevenlabs.lazy_client import LazyClient
from vocelio.gateway.speech.interfaces import RequestNotSupported, SpeechError

if TYPE_CHECKING:
    from vocelio.gateway.speech.elevenlabs.client import SynthesisRequest

FLASH_MODEL = "eleven_flash_v2_5"
"""The model with the lowest latency (about 75 ms at the service), in 32 languages."""

MODELS_WITH_LANGUAGE_CODE = frozenset({FLASH_MODEL, "eleven_turbo_v2_5"})
"""Models that can be told a language; the others refuse a request that names one."""

MIN_SPEED, MAX_SPEED = 0.7, 1.2
"""Speeds that the service takes; others are limited to them."""

MAX_TEXT_LENGTH = 4096
"""Characters in one text, about five minutes of speech, as for the other voices: Flash itself takes 40,000."""

MAX_REQUESTS = 64
"""At once, and so many connections: more than any but an enterprise's plan allows."""

DEFAULT_MAX_LAG_SECONDS = 5.0
"""Seconds that the first audio may take, and that the audio may fall behind its own sound."""

_VOICE_ID = re.compile(r"[A-Za-z0-9]{1,64}")
"""The service's have 20 of these characters. The SDK puts them into the path as they are."""


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


class ElevenLabsSynthesizer:
    """A Synthesizer of one account. A voice's ``name`` is the service's voice id."""

    def __init__(
        self, account: ElevenLabsSettings, *, model: str = FLASH_MODEL, max_lag_seconds: float = DEFAULT_MAX_LAG_SECONDS
    ) -> None:
        self._lazy_client = LazyClient(account, MAX_REQUESTS, max_lag_seconds)
        self._model, self._max_lag_seconds = model, max_lag_seconds
        self._deadlines: set[AudioDeadline] = set()  # bounded by _place: past MAX_REQUESTS a speak is refused
        self._closed = False

    @property
    def requests(self) -> int:
        """How many texts are being spoken now."""
        return len(self._deadlines)

    async def start(self) -> None:
        """See ``Synthesizer.start``: load the SDK, connect, and see whether the key is known.

        Raises CredentialsRefused or SpeechError; the object works all the same once the reason has gone.
        """
        await self._lazy_client.verify_key()

    async def speak(self, text: str, voice: Voice) -> AsyncGenerator[bytes, None]:
        """See ``Synthesizer.speak``. Raises Unsuitable for a text over MAX_TEXT and a voice that it has not."""
        if not text.strip():
            return
        self._validate(text, voice)
        with self._acquire_slot() as patience:
            client = await self._lazy_client.get()  # importing is no fault of the service
            async with AsyncExitStack() as stack:
                speech = client.stream_speech(self._build_request(text, voice))
                audio = await patience.wait_for(stack.enter_async_context(speech))
                chunk = await patience.wait_for(anext(audio, b""))
                if not chunk:
                    raise SpeechError("ElevenLabs answered without any audio")
                while chunk:
                    patience.extend(chunk)
                    yield chunk
                    chunk = await patience.wait_for(anext(audio, b""))

    async def aclose(self) -> None:
        """End every speak with a SpeechError, and every connection."""
        self._closed = True
        for patience in self._deadlines:
            patience.expire()
        await self._lazy_client.aclose()

    def _validate(self, text: str, voice: Voice) -> None:
        if len(text) > MAX_TEXT_LENGTH:
            raise RequestNotSupported(f"a text of {len(text)} characters: at most {MAX_TEXT_LENGTH} can be spoken")
        if not _VOICE_ID.fullmatch(voice.name):
            raise RequestNotSupported("the voice's name is no ElevenLabs voice id")

    @contextmanager
    def _acquire_slot(self) -> Iterator[AudioDeadline]:
        if self._closed:
            raise SpeechError("ElevenLabs speech has been closed")
        if len(self._deadlines) >= MAX_REQUESTS:
            raise RequestNotSupported(f"ElevenLabs speech is full: {MAX_REQUESTS} texts at once")
        patience = AudioDeadline(self._max_lag_seconds)
        self._deadlines.add(patience)
        try:
            yield patience
        finally:
            self._deadlines.discard(patience)

    def _build_request(self, text: str, voice: Voice) -> "SynthesisRequest":
        from vocelio.gateway.speech.elevenlabs.client import SynthesisRequest  # loaded by now

        return SynthesisRequest(
            text=text.encode(errors="replace").decode(),  # half a surrogate pair cannot be sent
            voice_id=voice.name,
            model=self._model,
            speed=min(MAX_SPEED, max(MIN_SPEED, voice.speed)),
            language=voice.language.partition("-")[0].lower() if self._model in MODELS_WITH_LANGUAGE_CODE else None,
        )
