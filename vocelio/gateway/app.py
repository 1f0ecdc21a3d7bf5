"""The gateway as one ASGI application: every route, and how everything is wired, on one page."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any, Protocol

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.websockets import WebSocket

from vocelio.gateway import logs
from vocelio.gateway.calls.background.reaper import CallReaper
from vocelio.gateway.calls.registry import CallRegistry
from vocelio.gateway.config import Settings
from vocelio.gateway.errors import ApiError, DatabaseUnavailable
from vocelio.gateway.twilio import twiml
from vocelio.gateway.twilio.signatures import SignatureVerifier, TokenLookup, no_tenant_tokens
from vocelio.gateway.webhooks.continuation import ContinuationWebhooks
from vocelio.gateway.webhooks.incoming import IncomingCallWebhooks
from vocelio.gateway.webhooks.media_stream import media_stream_endpoint
from vocelio.gateway.webhooks.overflow import OverflowWebhook
from vocelio.gateway.webhooks.responses import ERROR_MESSAGE, TwimlResponses
from vocelio.gateway.webhooks.signed_form import TwilioRequest, parse_signed

LOG = logging.getLogger(__name__)

MAX_WEBSOCKET_MESSAGE_BYTES = 32_768  # bytes of one WebSocket message: Twilio's have about 400


class BackgroundService(Protocol):
    """What a process does beside answering."""

    async def start(self) -> None:
        """Begin."""

    async def aclose(self) -> None:
        """End, leaving nothing behind."""


def create_app(
    settings: Settings,
    calls: CallRegistry,
    *,
    tenant_tokens: TokenLookup = no_tenant_tokens,
    api_routes: Sequence[BaseRoute] = (),
    background_services: Sequence[BackgroundService] = (),
) -> Starlette:
    """The application. Its lifespan starts what the calls need and leaves nothing behind.

    ``accounts`` knows the tenants' own Twilio accounts; ``api`` are the routes of the control API, where there is one;
    ``workers`` are what the process does beside.
    """
    services = calls.services
    signatures = SignatureVerifier(settings.public_url, settings.platform_tokens, tenant_tokens, settings.webhook_keys)
    answers = TwimlResponses(calls, signatures)
    onward = ContinuationWebhooks(calls, answers)
    overflow = OverflowWebhook(calls, answers)
    twilio = IncomingCallWebhooks(calls, signatures, answers, onward, overflow)
    ours: Sequence[BackgroundService] = (
        services.bus.pubsub,
        calls.admission,
        CallReaper(calls),
        calls.command_router,
        calls.listen_in_relay,
    )
    everybody = (*ours, *background_services)

    async def signed(request: Request) -> TwilioRequest:
        form = await parse_signed(request, signatures)
        logs.bind(call=form.call)
        return form

    def twiml_endpoint(answer: Callable[[TwilioRequest], Awaitable[str]]) -> Callable[[Request], object]:
        async def endpoint(request: Request) -> Response:
            try:
                text = await answer(await signed(request))
            except (
                DatabaseUnavailable
            ):  # not even who calls is known: a caller should hear something, and learns nothing
                text = twiml.say_and_hang_up(ERROR_MESSAGE)
            return Response(text, media_type="application/xml")

        return endpoint

    def callback_endpoint(take: Callable[[TwilioRequest], Awaitable[None]]) -> Callable[[Request], object]:
        async def endpoint(request: Request) -> Response:
            await take(await signed(request))
            return Response(status_code=204)

        return endpoint

    async def media(socket: WebSocket) -> None:
        await media_stream_endpoint(socket, calls, signatures)

    async def health(_: Request) -> Response:
        return JSONResponse({"status": "ok", "live_calls": len(calls.live_calls)})

    async def ready(_: Request) -> Response:
        status = "draining" if calls.draining else "full" if calls.is_full else "ok"
        return JSONResponse({"status": status}, status_code=200 if status == "ok" else 503)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        await services.call_store.start()
        await services.speech.start()
        for worker in everybody:
            await worker.start()
        await services.recordings.start()
        try:
            yield
        finally:
            await _close_all(*(worker.aclose() for worker in everybody), calls.aclose(), timeout_seconds=0.5)
            parts = (services.speech, services.http_client, services.recordings)
            await _close_all(*(part.aclose() for part in parts), timeout_seconds=1.0)
            await services.call_store.aclose()

    return Starlette(
        routes=[
            Route("/twilio/voice", twiml_endpoint(twilio.incoming_call), methods=["POST"]),
            Route("/twilio/overflow", twiml_endpoint(overflow.wait_in_queue), methods=["POST"]),
            Route("/twilio/fallback", twiml_endpoint(twilio.fallback), methods=["POST"]),
            Route("/twilio/continue", twiml_endpoint(onward.continue_call), methods=["POST"]),
            Route("/twilio/dialed", twiml_endpoint(onward.dial_completed), methods=["POST"]),
            Route("/twilio/whisper", twiml_endpoint(onward.whisper), methods=["POST"]),
            Route("/twilio/status", callback_endpoint(twilio.call_status), methods=["POST"]),
            Route("/twilio/stream", callback_endpoint(twilio.stream_status), methods=["POST"]),
            WebSocketRoute("/twilio/media/{account_sid}", media),
            Route("/healthz", health),
            Route("/readyz", ready),
            *api_routes,
        ],
        exception_handlers={ApiError: _problem_response},
        lifespan=lifespan,
    )


async def _close_all(*coroutines: Coroutine[Any, Any, None], timeout_seconds: float) -> None:
    """All of them at once, and within that time: a process that is told to leave has ten seconds in all."""
    tasks = [asyncio.ensure_future(closing) for closing in coroutines]
    done, late = await asyncio.wait(tasks, timeout=timeout_seconds)
    for task in late:
        LOG.warning("something did not end in time: %s", task.get_coro())
        task.cancel()
    if late:
        await asyncio.wait(late, timeout=timeout_seconds)
    for task in done:
        if error := task.exception():
            LOG.error("something ended badly", exc_info=error)


def _problem_response(request: Request, error: Exception) -> Response:
    """An RFC 9457 problem."""
    assert isinstance(error, ApiError)  # noqa: S101 (it is registered for these only)
    LOG.warning("%s %s: %s", request.method, request.url.path, error)
    body = {"type": "about:blank", "title": error.title, "status": error.status, "detail": str(error)}
    return JSONResponse(body, status_code=error.status, media_type="application/problem+json")
