"""Speech synthesis with ElevenLabs: one streaming request per text, over pooled connections.

The service's plans limit concurrent requests; beyond that it answers 429. Nothing is queued here: a request that cannot
be served at once fails, and another provider takes over.
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
"""Models that take a language; the others reject a request with one."""

MIN_SPEED, MAX_SPEED = 0.7, 1.2
"""Limits of the speed, as the service accepts it."""

MAX_TEXT_LENGTH = 4096
"""Characters of a text, about five minutes of speech, as for the other providers; Flash itself takes 40,000."""

MAX_REQUESTS = 64
"""Concurrent requests and connections: more than any but an enterprise's plan allows."""

DEFAULT_MAX_LAG_SECONDS = 5.0
"""That the first audio may take, and that the audio may lag behind real time."""

_VOICE_ID = re.compile(r"[A-Za-z0-9]{1,64}")
"""The service's ids have 20 of these characters. The SDK inserts them into the path unescaped."""

T = TypeVar("T")


class AudioDeadline:
    """Bounds the time spent waiting for one text's audio, without the time that the consumer takes.

    The audio must come faster than real time, with ``seconds`` to begin with: so a service that stalls and one that
    drips both fail within a known time, and a long text may take as long as it needs.
    """

    def __init__(self, seconds: float) -> None:
        self._remaining_seconds = seconds
        self._timeout: asyncio.Timeout | None = None
        self._expired = False

    async def wait_for(self, step: Awaitable[T]) -> T:
        """Await ``step``. Raises SpeechError if it takes too long, or once ``expire`` was called."""
        loop = asyncio.get_running_loop()
        started_at = loop.time()
        try:
            async with asyncio.timeout(0 if self._expired else self._remaining_seconds) as self._timeout:
                result = await step
                if not self._expired:
                    return result
        except TimeoutError:
            if not self._expired:
                raise SpeechError("ElevenLabs: the audio is late") from None
        finally:
            self._timeout = None
            self._remaining_seconds -= loop.time() - started_at
        raise SpeechError("ElevenLabs speech has been closed")

    def extend(self, audio: bytes) -> None:
        """Extend the deadline by the duration of audio that has come."""
        self._remaining_seconds += len(audio) / mulaw.SAMPLE_RATE

    def expire(self) -> None:
        """Let the current wait and all further ones fail at once."""
        self._expired = True
        if self._timeout is not None:
            self._timeout.reschedule(asyncio.get_running_loop().time())


class ElevenLabsSynthesizer:
    """Synthesizes with one account. A voice's ``name`` is the service's voice id."""

    def __init__(
        self, account: ElevenLabsSettings, *, model: str = FLASH_MODEL, max_lag_seconds: float = DEFAULT_MAX_LAG_SECONDS
    ) -> None:
        self._lazy_client = LazyClient(account, MAX_REQUESTS, max_lag_seconds)
        self._model, self._max_lag_seconds = model, max_lag_seconds
        self._deadlines: set[AudioDeadline] = set()  # at most MAX_REQUESTS, see _acquire_slot
        self._closed = False

    @property
    def requests(self) -> int:
        """Number of texts being spoken."""
        return len(self._deadlines)

    async def start(self) -> None:
        """Load the SDK, connect and verify the key. Raises SpeechError; the synthesizer may still work later."""
        await self._lazy_client.verify_key()

    async def speak(self, text: str, voice: Voice, tenant: str = "") -> AsyncGenerator[bytes, None]:
        """Yield the audio. Raises RequestNotSupported for a text over MAX_TEXT_LENGTH or an unknown voice."""
        if not text.strip():
            return
        self._validate(text, voice)
        with self._acquire_slot() as deadline:
            client = await self._lazy_client.get()  # not under the deadline: importing is not the service's fault
            async with AsyncExitStack() as stack:
                response = client.stream_speech(self._build_request(text, voice))
                audio = await deadline.wait_for(stack.enter_async_context(response))
                chunk = await deadline.wait_for(anext(audio, b""))
                if not chunk:
                    raise SpeechError("ElevenLabs sent no audio")
                while chunk:
                    deadline.extend(chunk)
                    yield chunk
                    chunk = await deadline.wait_for(anext(audio, b""))

    async def aclose(self) -> None:
        """End every synthesis with an error, and close every connection."""
        self._closed = True
        for deadline in self._deadlines:
            deadline.expire()
        await self._lazy_client.aclose()

    def _validate(self, text: str, voice: Voice) -> None:
        if len(text) > MAX_TEXT_LENGTH:
            raise RequestNotSupported(f"the text has {len(text)} characters; at most {MAX_TEXT_LENGTH} can be spoken")
        if not _VOICE_ID.fullmatch(voice.name):
            raise RequestNotSupported("the voice's name is not an ElevenLabs voice id")

    @contextmanager
    def _acquire_slot(self) -> Iterator[AudioDeadline]:
        if self._closed:
            raise SpeechError("ElevenLabs speech has been closed")
        if len(self._deadlines) >= MAX_REQUESTS:
            raise RequestNotSupported(f"ElevenLabs speech is full: {MAX_REQUESTS} concurrent texts")
        deadline = AudioDeadline(self._max_lag_seconds)
        self._deadlines.add(deadline)
        try:
            yield deadline
        finally:
            self._deadlines.discard(deadline)

    def _build_request(self, text: str, voice: Voice) -> "SynthesisRequest":
        from vocelio.gateway.speech.elevenlabs.client import SynthesisRequest  # loaded by now

        return SynthesisRequest(
            text=text.encode(errors="replace").decode(),  # an unpaired surrogate cannot be sent
            voice_id=voice.name,
            model=self._model,
            speed=min(MAX_SPEED, max(MIN_SPEED, voice.speed)),
            language=voice.language.partition("-")[0].lower() if self._model in MODELS_WITH_LANGUAGE_CODE else None,
        )
