"""The gateway as one ASGI application: its Twilio, probe and API routes, and the lifespan of its services."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any, Protocol

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.types import ASGIApp
from starlette.websockets import WebSocket

from vocelio.gateway import logs
from vocelio.gateway.api.framework import problem_details
from vocelio.gateway.api.framework.security_headers import SecurityHeadersMiddleware
from vocelio.gateway.calls.components import CallComponents
from vocelio.gateway.calls.registry import CallRegistry
from vocelio.gateway.config import Settings
from vocelio.gateway.errors import DatabaseUnavailable, DomainError
from vocelio.gateway.twilio import twiml
from vocelio.gateway.twilio.signatures import SignatureVerifier, TokenLookup, no_tenant_tokens
from vocelio.gateway.twilio.urls import PublicUrls
from vocelio.gateway.webhooks.continuation import ContinuationWebhooks
from vocelio.gateway.webhooks.incoming import IncomingCallWebhooks
from vocelio.gateway.webhooks.media_stream import media_stream_endpoint
from vocelio.gateway.webhooks.overflow import OverflowWebhook
from vocelio.gateway.webhooks.responses import ERROR_MESSAGE, TwimlResponses
from vocelio.gateway.webhooks.signed_form import TwilioRequest, parse_signed
from vocelio.gateway.webhooks.urls import WebhookUrls

LOG = logging.getLogger(__name__)

MAX_WEBSOCKET_MESSAGE_BYTES = 32_768  # Twilio's messages have about 400 bytes

MAX_PATH_LOGGED = 100  # characters

CLOSE_BACKGROUND_SECONDS = 0.5  # for background services and calls, and again for those that had to be canceled
CLOSE_SERVICES_SECONDS = 1.0  # for speech, HTTP and recordings; in all a process has 10 s from SIGTERM to its end

TwimlHandler = Callable[[TwilioRequest], Awaitable[str]]
CallbackHandler = Callable[[TwilioRequest], Awaitable[None]]
HttpEndpoint = Callable[[Request], Awaitable[Response]]


class BackgroundService(Protocol):
    """Runs beside the request handlers for as long as the process does."""

    async def start(self) -> None: ...

    async def aclose(self) -> None: ...


class GatewayApplication(Starlette):
    """Starlette with security headers on all responses, also on those of unhandled errors."""

    def __init__(self, is_https: bool, **options: Any) -> None:
        super().__init__(**options)
        self._is_https = is_https
        self.router.redirect_slashes = False  # such a redirect would contain the request's Host header

    def build_middleware_stack(self) -> ASGIApp:
        return SecurityHeadersMiddleware(super().build_middleware_stack(), self._is_https)


def create_app(
    settings: Settings,
    calls: CallComponents,
    *,
    tenant_tokens: TokenLookup = no_tenant_tokens,
    api_routes: Sequence[BaseRoute] = (),
    background_services: Sequence[BackgroundService] = (),
) -> Starlette:
    """Create the application; its lifespan starts everything that calls need, and closes it.

    Args:
        settings: The process's settings.
        calls: The components that run the calls, with the services they use.
        tenant_tokens: Looks up the auth tokens of tenants' own Twilio accounts.
        api_routes: The routes of the control API, if it is served.
        background_services: Further services to start and close with the application.
    """
    urls = PublicUrls(settings.public_url)
    signatures = SignatureVerifier(urls, settings.platform_tokens, tenant_tokens, settings.webhook_keys)
    services: Sequence[BackgroundService] = (
        calls.services.bus.pubsub,
        calls.admission,
        calls.reaper,
        calls.command_router,
        calls.listen_in_relay,
        *background_services,
    )
    return GatewayApplication(
        is_https=settings.origin.startswith("https:"),
        routes=[*_twilio_routes(calls, signatures, urls), *_probe_routes(calls.registry), *api_routes],
        exception_handlers={DomainError: _problem_response, ClientDisconnect: _unread_response},
        lifespan=lambda _: _lifespan(calls, services),
    )


def _twilio_routes(calls: CallComponents, signatures: SignatureVerifier, urls: PublicUrls) -> list[BaseRoute]:
    directory, wall_clock = calls.services.directory, calls.services.wall_clock
    responses = TwimlResponses(calls.lifecycle, directory, WebhookUrls(urls))
    continuation = ContinuationWebhooks(calls.repository, calls.lifecycle, calls.publisher, responses, wall_clock)
    overflow = OverflowWebhook(calls.registry, calls.lifecycle, calls.transfer_authorizer, responses)
    incoming = IncomingCallWebhooks(
        calls.registry, calls.lifecycle, calls.repository, directory, signatures, responses, continuation, overflow
    )

    async def media(socket: WebSocket) -> None:
        await media_stream_endpoint(socket, calls.registry, signatures)

    twiml_handlers: dict[str, TwimlHandler] = {
        "/twilio/voice": incoming.incoming_call,
        "/twilio/overflow": overflow.wait_in_queue,
        "/twilio/fallback": incoming.fallback,
        "/twilio/continue": continuation.continue_call,
        "/twilio/dialed": continuation.dial_completed,
        "/twilio/whisper": continuation.whisper,
    }
    callback_handlers: dict[str, CallbackHandler] = {
        "/twilio/status": incoming.call_status,
        "/twilio/stream": incoming.stream_status,
    }
    return [
        *(
            Route(path, _twiml_endpoint(handle, signatures), methods=["POST"])
            for path, handle in twiml_handlers.items()
        ),
        *(
            Route(path, _callback_endpoint(handle, signatures), methods=["POST"])
            for path, handle in callback_handlers.items()
        ),
        WebSocketRoute("/twilio/media/{account_sid}", media),
    ]


def _twiml_endpoint(handle: TwimlHandler, signatures: SignatureVerifier) -> HttpEndpoint:
    """Answer a signed webhook with a TwiML document."""

    async def endpoint(request: Request) -> Response:
        try:
            text = await handle(await _parse_and_bind(request, signatures))
        except DatabaseUnavailable:  # not even the caller is known; the message reveals nothing
            text = twiml.say_and_hang_up(ERROR_MESSAGE)
        return Response(text, media_type="application/xml")

    return endpoint


def _callback_endpoint(handle: CallbackHandler, signatures: SignatureVerifier) -> HttpEndpoint:
    """Answer a signed status callback, whose response Twilio ignores."""

    async def endpoint(request: Request) -> Response:
        await handle(await _parse_and_bind(request, signatures))
        return Response(status_code=204)

    return endpoint


async def _parse_and_bind(request: Request, signatures: SignatureVerifier) -> TwilioRequest:
    form = await parse_signed(request, signatures)
    logs.bind(call=form.call)
    return form


def _probe_routes(registry: CallRegistry) -> list[BaseRoute]:
    async def health(_: Request) -> Response:
        return JSONResponse({"status": "ok", "live_calls": len(registry.live_calls)})

    async def ready(_: Request) -> Response:
        status = "draining" if registry.draining else "at_capacity" if registry.is_full else "ok"
        return JSONResponse({"status": status}, status_code=200 if status == "ok" else 503)

    return [Route("/healthz", health), Route("/readyz", ready)]


@asynccontextmanager
async def _lifespan(calls: CallComponents, background_services: Sequence[BackgroundService]) -> AsyncIterator[None]:
    services = calls.services
    await services.call_store.start()
    await services.speech.start()
    for service in background_services:
        await service.start()
    await services.recordings.start()
    try:
        yield
    finally:
        await _close_all(
            *(service.aclose() for service in background_services),
            calls.lifecycle.aclose(),
            timeout_seconds=CLOSE_BACKGROUND_SECONDS,
        )
        await _close_all(
            services.speech.aclose(),
            services.http_client.aclose(),
            services.recordings.aclose(),
            timeout_seconds=CLOSE_SERVICES_SECONDS,
        )
        await services.call_store.aclose()


async def _close_all(*coroutines: Coroutine[Any, Any, None], timeout_seconds: float) -> None:
    """Run the coroutines concurrently; cancel those that do not finish in time."""
    tasks = [asyncio.ensure_future(coroutine) for coroutine in coroutines]
    done, late = await asyncio.wait(tasks, timeout=timeout_seconds)
    for task in late:
        LOG.warning("shutdown: %s did not finish in %g s; canceling it", task.get_coro(), timeout_seconds)
        task.cancel()
    if late:
        await asyncio.wait(late, timeout=timeout_seconds)
    for task in done:
        if error := task.exception():
            LOG.error("shutdown: closing a service failed", exc_info=error)


def _problem_response(request: Request, error: Exception) -> Response:
    """Render a DomainError as RFC 9457 problem details."""
    assert isinstance(error, DomainError)  # noqa: S101 (registered for this class only)
    LOG.warning("%s %s: %s", request.method, request.scope["path"][:MAX_PATH_LOGGED], error, extra=logs.RATE_LIMITED)
    status = problem_details.status_of(error)
    title = problem_details.REASON_PHRASES[status]
    body = {"type": "about:blank", "title": title, "status": status, "detail": str(error)}
    return JSONResponse(body, status_code=status, media_type=problem_details.PROBLEM_MEDIA_TYPE)


def _unread_response(_: Request, _error: Exception) -> Response:
    """Answer a peer that went away within its request, which is no error of ours."""
    return Response(status_code=400)
