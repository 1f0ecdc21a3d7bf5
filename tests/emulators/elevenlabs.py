"""Emulator of ElevenLabs on one loopback port: text to speech over HTTP, realtime speech to text over a WebSocket.

Written from the service's API reference and the SDK's types, not from the requests of our client: it rejects what the
service rejects. It really synthesizes (espeak-ng) and recognizes (pocketsphinx, a given vocabulary) speech.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from tests.emulators.elevenlabs_errors import FAULT_KEY, abort_connection, error_response
from tests.emulators.elevenlabs_realtime import RealtimeEndpoint, RealtimeSession
from tests.emulators.elevenlabs_synthesis import SynthesisEndpoint, SynthesisRequest
from tests.emulators.fault_plan import Fault, FaultPlan
from vocelio.gateway.speech.local.recognizer import LocalRecognizer
from vocelio.gateway.speech.local.synthesizer import LocalSynthesizer

VOICE, OTHER_VOICE = "21m00Tcm4TlvDq8ikWAM", "EXAVITQu4vr4xnSDxMaL"
"""Ids of its voices."""

_ERROR_RESPONSES = {
    "401": (401, "invalid_api_key", "Invalid API key"),
    "429": (429, "too_many_concurrent_requests", "Too many concurrent requests for your subscription"),
    "500": (500, "internal_server_error", "Something went wrong"),
}


class ElevenLabsEmulator:
    """The service, running during an ``async with`` block. The caller starts ``recognizer`` and ``synthesizer``.

    ``orders`` is the fault plan. Both endpoints share a port, so the fault "refuse" of one of them resets its
    connections; ``closed`` closes the port. ``idle`` is the number of seconds without audio after which a session ends.
    """

    def __init__(
        self,
        recognizer: LocalRecognizer,
        synthesizer: LocalSynthesizer,
        vocabulary: tuple[str, ...],
        *,
        key: str = "sk_emulated",
        idle: float = 15.0,
    ) -> None:
        self.key = key
        self.orders = FaultPlan()
        self.requests: Counter[str] = Counter()  # by path
        self._realtime = RealtimeEndpoint(recognizer, vocabulary, idle)
        self._speech = SynthesisEndpoint(synthesizer, {VOICE: "en-us", OTHER_VOICE: "en-us+f3"})
        app = web.Application(middlewares=[self._apply_fault])
        app.router.add_get("/v1/models", self._models)
        app.router.add_post("/v1/text-to-speech/{voice_id}/stream", self._speech.handle)
        app.router.add_get("/v1/speech-to-text/realtime", self._realtime.handle)
        # A handler is cancelled when its client disconnects, as the service stops synthesis then.
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1, access_log=None)
        self._port = 0

    async def __aenter__(self) -> "ElevenLabsEmulator":
        await self._runner.setup()
        await self._listen()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._realtime.end()
        await self._runner.cleanup()

    @property
    def base_url(self) -> str:
        """The base URL of the API."""
        return f"http://127.0.0.1:{self._port}"

    def clear_records(self) -> None:
        """Clear all records."""
        self._realtime.sessions.clear()
        self._speech.spoken.clear()

    @property
    def spoken(self) -> list[SynthesisRequest]:
        """All synthesis requests, including cancelled ones."""
        return self._speech.spoken

    @property
    def sessions(self) -> list[RealtimeSession]:
        """All recognition sessions."""
        return self._realtime.sessions

    @property
    def transcripts(self) -> list[str]:
        """All committed transcripts."""
        return [text for session in self.sessions for text in session.heard]

    @property
    def sockets(self) -> int:
        """Number of open connections, including idle ones."""
        return len(self._runner.server.connections) if self._runner.server else 0

    @asynccontextmanager
    async def closed(self) -> AsyncIterator[None]:
        """Close the port during the block."""
        for site in list(self._runner.sites):
            await site.stop()
        for handler in list(self._runner.server.connections) if self._runner.server else []:
            if handler.transport is not None:
                handler.transport.abort()
        try:
            yield
        finally:
            await self._listen()

    async def _listen(self) -> None:
        site = web.TCPSite(self._runner, "127.0.0.1", self._port)
        await site.start()
        self._port = self._runner.addresses[0][1]

    @web.middleware
    async def _apply_fault(self, request: web.Request, handler) -> web.StreamResponse:
        """Middleware: count the request, apply faults of every endpoint, and check the key."""
        self.requests[request.path] += 1
        fault: Fault = self.orders.synthesis if request.method == "POST" else self.orders.recognition
        if request.path == "/v1/models":
            fault = self.orders.synthesis or self.orders.recognition
        if fault in _ERROR_RESPONSES:
            return error_response(*_ERROR_RESPONSES[fault])
        if fault == "refuse":
            abort_connection(request)
        if "xi-api-key" not in request.headers:
            return error_response(401, "needs_authorization", "Neither authorization header nor xi-api-key received")
        if request.headers["xi-api-key"] != self.key:
            return error_response(401, "invalid_api_key", "Invalid API key")
        request[FAULT_KEY] = fault
        return await handler(request)

    async def _models(self, request: web.Request) -> web.StreamResponse:
        match request[FAULT_KEY]:
            case "silent" | "stall" | "drip":
                await asyncio.Event().wait()
            case "garbage":
                return web.Response(body=b"\xff\xfe{[", content_type="application/json")
            case "abrupt":
                abort_connection(request)
        models = [{"model_id": name, "name": name, "can_do_text_to_speech": True} for name in self._speech.models]
        return web.json_response(models)
