"""The gateway as one ASGI application: every route, and how everything is wired, on one page."""

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from vocelio.engine import schema
from vocelio.gateway.calls.ports import Services
from vocelio.gateway.calls.registry import Calls
from vocelio.gateway.carrier.signatures import Signatures
from vocelio.gateway.config import Settings
from vocelio.gateway.errors import BadRequest, Forbidden
from vocelio.gateway.webhooks.media import media_socket
from vocelio.gateway.webhooks.signed import SignedForm, read_signed
from vocelio.gateway.webhooks.voice import Voice

LOG = logging.getLogger(__name__)

MAX_MESSAGE = 32_768  # bytes of one WebSocket message: Twilio's have about 400


def build(settings: Settings, services: Services) -> Starlette:
    """The application. Its lifespan starts the recogniser and leaves nothing behind."""
    calls = Calls(services)
    signatures = Signatures(settings.public_url, settings.tokens)
    twilio = Voice(calls, signatures)

    def document(answer: Callable[[SignedForm], str]) -> Callable[[Request], object]:
        async def endpoint(request: Request) -> Response:
            return Response(answer(await read_signed(request, signatures)), media_type="application/xml")

        return endpoint

    async def status(request: Request) -> Response:
        twilio.status(await read_signed(request, signatures))
        return Response(status_code=204)

    async def media(socket: WebSocket) -> None:
        await media_socket(socket, calls, signatures)

    async def flow_schema(_: Request) -> Response:
        return Response(schema.document(), media_type="application/schema+json")

    async def health(_: Request) -> Response:
        return JSONResponse({"status": "ok", "live_calls": len(calls.live)})

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        await services.recognizer.start()
        try:
            yield
        finally:
            calls.close()
            await services.recognizer.aclose()
            await services.synthesizer.aclose()
            await services.fetcher.aclose()
            await services.logs.aclose()

    return Starlette(
        routes=[
            Route("/twilio/voice", document(twilio.voice), methods=["POST"]),
            Route("/twilio/continue", document(twilio.go_on), methods=["POST"]),
            Route("/twilio/dialed", document(twilio.dialed), methods=["POST"]),
            Route("/twilio/whisper", document(twilio.whisper), methods=["POST"]),
            Route("/twilio/status", status, methods=["POST"]),
            WebSocketRoute("/twilio/media/{account_sid}", media),
            Route("/v1/flows/schema", flow_schema),
            Route("/healthz", health),
        ],
        exception_handlers={Forbidden: _problem(403), BadRequest: _problem(400)},
        lifespan=lifespan,
    )


def _problem(status: int) -> Callable[[Request, Exception], Response]:
    """An RFC 9457 problem."""

    def handler(request: Request, error: Exception) -> Response:
        LOG.warning("%s %s: %s", request.method, request.url.path, error)
        title = type(error).__name__
        body = {"type": "about:blank", "title": title, "status": status, "detail": str(error)}
        return JSONResponse(body, status_code=status, media_type="application/problem+json")

    return handler
