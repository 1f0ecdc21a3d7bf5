"""Client of the ElevenLabs SDK. Importing this module takes a second: only ``lazy_client`` does, in a thread.

The SDK has one timeout per request, for each of connecting, writing and waiting for the next bytes; the caller bounds
the whole. Redirects are not followed: httpx would send the key wherever they lead.
"""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import httpx
import msgspec
from elevenlabs.client import AsyncElevenLabs
from elevenlabs.core.api_error import ApiError
from elevenlabs.core.parse_error import ParsingError
from elevenlabs.core.request_options import RequestOptions
from elevenlabs.types import VoiceSettings

from vocelio.gateway.config import ElevenLabsSettings
from vocelio.gateway.speech.elevenlabs import errors
from vocelio.gateway.speech.elevenlabs.errors import validate_api_key
from vocelio.gateway.speech.interfaces import SpeechError

CHUNK_BYTES = 400
"""50 ms of mu-law at a time: smaller chunks cost more than they gain; the SDK's default of 1024 comes 128 ms late."""

KEEPALIVE_SECONDS = 300.0
"""Idle time of a connection: a prompt after a pause needs no new TLS handshake (httpx's default is 5 s)."""

_NO_RETRIES = RequestOptions(max_retries=0)
"""The SDK would retry twice; a waiting caller is better served by the next provider."""

_STREAMING = RequestOptions(max_retries=0, chunk_size=CHUNK_BYTES)


class SynthesisRequest(msgspec.Struct, frozen=True):
    """One text to be spoken. ``language`` is an ISO 639-1 code, for models that take one.

    With a ``speed`` of 1.0 no settings are sent, so that the voice keeps its own: they are only replaced as a whole.
    """

    text: str
    voice_id: str
    model: str
    speed: float
    language: str | None


class Client:
    """The SDK's client with its connection pool; ``timeout_seconds`` bounds each step of a request."""

    def __init__(self, account: ElevenLabsSettings, max_connections: int, timeout_seconds: float) -> None:
        self.ssl_context = httpx.create_ssl_context()
        limits = httpx.Limits(
            max_connections=max_connections,
            max_keepalive_connections=max_connections,
            keepalive_expiry=KEEPALIVE_SECONDS,
        )
        self._http = httpx.AsyncClient(
            verify=self.ssl_context, limits=limits, timeout=timeout_seconds, follow_redirects=False
        )
        sdk = AsyncElevenLabs(base_url=account.base_url, api_key=validate_api_key(account.key), httpx_client=self._http)
        self._models, self._text_to_speech = (
            sdk.models,
            sdk.text_to_speech.with_raw_response,
        )  # accessing them imports their modules

    async def verify_key(self) -> None:
        """Send an authenticated request that is free of charge. Raises SpeechError."""
        try:
            with _map_errors():
                await self._models.list(request_options=_NO_RETRIES)
        except SpeechError as error:
            # The key may be restricted to speech: the missing permission proves that it is known.
            if "missing_permissions" not in str(error):
                raise

    @asynccontextmanager
    async def stream_speech(self, request: SynthesisRequest) -> AsyncIterator[AsyncIterator[bytes]]:
        """Stream the mu-law of a text; leaving early drops the connection, which cancels the request."""
        with _map_errors():
            async with self._text_to_speech.stream(
                request.voice_id,
                text=request.text,
                model_id=request.model,
                output_format="ulaw_8000",
                voice_settings=VoiceSettings(speed=request.speed) if request.speed != 1.0 else None,
                language_code=request.language,
                request_options=_STREAMING,
            ) as response:
                if not response.headers.get("content-type", "").startswith(("audio/", "application/octet-stream")):
                    raise SpeechError("ElevenLabs sent a response that is not audio")
                yield response.data

    async def aclose(self) -> None:
        """Close every connection, including those in use."""
        await self._http.aclose()


@contextmanager
def _map_errors() -> Iterator[None]:
    """Map errors of the SDK and httpx to SpeechError."""
    try:
        yield
    except ApiError as error:  # its text is the response with all headers, not fit for a log, not even as the cause
        raise errors.from_status(error.status_code, error.body) from None
    except (ParsingError, UnicodeError):
        raise SpeechError("ElevenLabs sent an invalid response") from None
    except (httpx.HTTPError, httpx.StreamError, httpx.InvalidURL) as error:
        raise SpeechError(f"ElevenLabs could not be reached: {type(error).__name__}") from error
