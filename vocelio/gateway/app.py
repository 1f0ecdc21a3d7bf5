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
from vocelio.gateway.calls.background.reaper import Watch
from vocelio.gateway.calls.registry import Calls
from vocelio.gateway.config import Settings
from vocelio.gateway.errors import Refused, StoreUnavailable
from vocelio.gateway.twilio import twiml
from vocelio.gateway.twilio.signatures import Signatures, Tokens, no_tokens
from vocelio.gateway.webhooks.continuation import Onward
from vocelio.gateway.webhooks.incoming import Voice
from vocelio.gateway.webhooks.media_stream import media_socket
from vocelio.gateway.webhooks.overflow import Overflowing
from vocelio.gateway.webhooks.responses import TROUBLE, Answers
from vocelio.gateway.webhooks.signed_form import SignedForm, read_signed

LOG = logging.getLogger(__name__)

MAX_MESSAGE = 32_768  # bytes of one WebSocket message: Twilio's have about 400


class Worker(Protocol):
    """What a process does beside answering."""

    async def start(self) -> None:
        """Begin."""

    async def aclose(self) -> None:
        """End, leaving nothing behind."""


def build(
    settings: Settings,
    calls: Calls,
    *,
    accounts: Tokens = no_tokens,
    api: Sequence[BaseRoute] = (),
    workers: Sequence[Worker] = (),
) -> Starlette:
    """The application. Its lifespan starts what the calls need and leaves nothing behind.

    ``accounts`` knows the tenants' own Twilio accounts; ``api`` are the routes of the control API, where there is one;
    ``workers`` are what the process does beside.
    """
    services = calls.services
    signatures = Signatures(settings.public_url, settings.tokens, accounts, settings.webhook_keys)
    answers = Answers(calls, signatures)
    onward = Onward(calls, answers)
    overflow = Overflowing(calls, answers)
    twilio = Voice(calls, signatures, answers, onward, overflow)
    ours: Sequence[Worker] = (services.bus.line, calls.load, Watch(calls), calls.dispatch, calls.audience)
    everybody = (*ours, *workers)

    async def signed(request: Request) -> SignedForm:
        form = await read_signed(request, signatures)
        logs.about(call=form.call)
        return form

    def document(answer: Callable[[SignedForm], Awaitable[str]]) -> Callable[[Request], object]:
        async def endpoint(request: Request) -> Response:
            try:
                text = await answer(await signed(request))
            except StoreUnavailable:  # not even who calls is known: a caller should hear something, and learns nothing
                text = twiml.apologise(TROUBLE)
            return Response(text, media_type="application/xml")

        return endpoint

    def notice(take: Callable[[SignedForm], Awaitable[None]]) -> Callable[[Request], object]:
        async def endpoint(request: Request) -> Response:
            await take(await signed(request))
            return Response(status_code=204)

        return endpoint

    async def media(socket: WebSocket) -> None:
        await media_socket(socket, calls, signatures)

    async def health(_: Request) -> Response:
        return JSONResponse({"status": "ok", "live_calls": len(calls.live)})

    async def ready(_: Request) -> Response:
        status = "draining" if calls.draining else "full" if calls.full_up else "ok"
        return JSONResponse({"status": status}, status_code=200 if status == "ok" else 503)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        await services.journal.start()
        await services.speech.start()
        for worker in everybody:
            await worker.start()
        await services.recordings.start()
        try:
            yield
        finally:
            await _close(*(worker.aclose() for worker in everybody), calls.aclose(), seconds=0.5)
            parts = (services.speech, services.fetcher, services.recordings)
            await _close(*(part.aclose() for part in parts), seconds=1.0)
            await services.journal.aclose()

    return Starlette(
        routes=[
            Route("/twilio/voice", document(twilio.voice), methods=["POST"]),
            Route("/twilio/overflow", document(overflow.wait), methods=["POST"]),
            Route("/twilio/fallback", document(twilio.fallback), methods=["POST"]),
            Route("/twilio/continue", document(onward.go_on), methods=["POST"]),
            Route("/twilio/dialed", document(onward.dialed), methods=["POST"]),
            Route("/twilio/whisper", document(onward.whisper), methods=["POST"]),
            Route("/twilio/status", notice(twilio.status), methods=["POST"]),
            Route("/twilio/stream", notice(twilio.stream), methods=["POST"]),
            WebSocketRoute("/twilio/media/{account_sid}", media),
            Route("/healthz", health),
            Route("/readyz", ready),
            *api,
        ],
        exception_handlers={Refused: _problem},
        lifespan=lifespan,
    )


async def _close(*closings: Coroutine[Any, Any, None], seconds: float) -> None:
    """All of them at once, and within that time: a process that is told to leave has ten seconds in all."""
    tasks = [asyncio.ensure_future(closing) for closing in closings]
    done, late = await asyncio.wait(tasks, timeout=seconds)
    for task in late:
        LOG.warning("something did not end in time: %s", task.get_coro())
        task.cancel()
    if late:
        await asyncio.wait(late, timeout=seconds)
    for task in done:
        if error := task.exception():
            LOG.error("something ended badly", exc_info=error)


def _problem(request: Request, error: Exception) -> Response:
    """An RFC 9457 problem."""
    assert isinstance(error, Refused)  # noqa: S101 (it is registered for these only)
    LOG.warning("%s %s: %s", request.method, request.url.path, error)
    body = {"type": "about:blank", "title": error.title, "status": error.status, "detail": str(error)}
    return JSONResponse(body, status_code=error.status, media_type="application/problem+json")
