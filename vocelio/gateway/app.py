"""The gateway as one ASGI application: every route, and how everything is wired, on one page."""

import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.websockets import WebSocket

from vocelio.gateway.calls.registry import Calls
from vocelio.gateway.carrier import twiml
from vocelio.gateway.carrier.signatures import Signatures, Tokens, no_tokens
from vocelio.gateway.config import Settings
from vocelio.gateway.errors import Refused, StoreUnavailable
from vocelio.gateway.webhooks.media import media_socket
from vocelio.gateway.webhooks.signed import SignedForm, read_signed
from vocelio.gateway.webhooks.voice import TROUBLE, Voice

LOG = logging.getLogger(__name__)

MAX_MESSAGE = 32_768  # bytes of one WebSocket message: Twilio's have about 400


def build(
    settings: Settings, calls: Calls, *, accounts: Tokens = no_tokens, api: Sequence[BaseRoute] = ()
) -> Starlette:
    """The application. Its lifespan starts what the calls need and leaves nothing behind.

    ``accounts`` knows the tenants' own Twilio accounts; ``api`` are the routes of the control API, where there is one.
    """
    services = calls.services
    signatures = Signatures(settings.public_url, settings.tokens, accounts)
    twilio = Voice(calls, signatures)

    def document(answer: Callable[[SignedForm], str]) -> Callable[[Request], object]:
        async def endpoint(request: Request) -> Response:
            return Response(answer(await read_signed(request, signatures)), media_type="application/xml")

        return endpoint

    async def voice(request: Request) -> Response:
        try:
            answer = await twilio.voice(await read_signed(request, signatures))
        except StoreUnavailable:  # not even who calls is known: a caller should hear something, and learns nothing
            answer = twiml.apologise(TROUBLE)
        return Response(answer, media_type="application/xml")

    async def status(request: Request) -> Response:
        twilio.status(await read_signed(request, signatures))
        return Response(status_code=204)

    async def media(socket: WebSocket) -> None:
        await media_socket(socket, calls, signatures)

    async def health(_: Request) -> Response:
        return JSONResponse({"status": "ok", "live_calls": len(calls.live)})

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        await services.journal.start()
        await services.recognizer.start()
        await services.recordings.start()
        try:
            yield
        finally:
            calls.close()
            await services.recognizer.aclose()
            await services.synthesizer.aclose()
            await services.fetcher.aclose()
            await services.recordings.aclose()
            await services.journal.aclose()

    return Starlette(
        routes=[
            Route("/twilio/voice", voice, methods=["POST"]),
            Route("/twilio/continue", document(twilio.go_on), methods=["POST"]),
            Route("/twilio/dialed", document(twilio.dialed), methods=["POST"]),
            Route("/twilio/whisper", document(twilio.whisper), methods=["POST"]),
            Route("/twilio/status", status, methods=["POST"]),
            WebSocketRoute("/twilio/media/{account_sid}", media),
            Route("/healthz", health),
            *api,
        ],
        exception_handlers={Refused: _problem},
        lifespan=lifespan,
    )


def _problem(request: Request, error: Exception) -> Response:
    """An RFC 9457 problem."""
    assert isinstance(error, Refused)  # noqa: S101 (it is registered for these only)
    LOG.warning("%s %s: %s", request.method, request.url.path, error)
    body = {"type": "about:blank", "title": error.title, "status": error.status, "detail": str(error)}
    return JSONResponse(body, status_code=error.status, media_type="application/problem+json")
