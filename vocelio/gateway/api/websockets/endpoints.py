"""The WebSockets of the API: the feed for monitors, and listening in to a call.

They are let in as every request is, by the same gate and before they are accepted: a refusal is an answer with a status
and a problem, as from any other path.
"""

import logging
from collections.abc import Awaitable, Callable

import msgspec
from starlette.responses import Response
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket

from vocelio.gateway import logs
from vocelio.gateway.api.framework import decoding, problem_details
from vocelio.gateway.api.framework.authentication import AccessRule, Authenticator
from vocelio.gateway.api.framework.endpoint import AUTHENTICATION_TIMEOUT_SECONDS, REQUEST_ID_HEADER, get_request_id
from vocelio.gateway.api.framework.websocket_tickets import WebSocketTickets
from vocelio.gateway.api.resources.live import EventFeedQuery, ListenQuery
from vocelio.gateway.api.websockets.listen_in import AudioQueue, CallEndPoller
from vocelio.gateway.api.websockets.push_socket import HeartbeatSettings, PushSocket
from vocelio.gateway.calls.control.listen_in import ListenInRelay
from vocelio.gateway.close_codes import CloseCode
from vocelio.gateway.errors import ApiError, BadRequest, Conflict, Forbidden, Unauthorized
from vocelio.gateway.model.roles import PERMISSIONS
from vocelio.gateway.monitors.service import MonitorService
from vocelio.gateway.store import audit
from vocelio.gateway.store.audit import Actor
from vocelio.gateway.store.calls import history
from vocelio.gateway.store.calls.history import CallId
from vocelio.gateway.store.db.database import Database

LOG = logging.getLogger(__name__)

EVENT_FEED_ACCESS, CALL_AUDIO_ACCESS = AccessRule("read", requires_tenant=False), AccessRule("operate")
WEBSOCKET_ACCESS_RULES = {"/v1/events": EVENT_FEED_ACCESS, "/v1/calls/{call}/audio": CALL_AUDIO_ACCESS}


class MonitoringDependencies(msgspec.Struct, frozen=True):
    """What is needed of the world: the monitors, ``keys`` that the processes share, the ``origin`` of our own pages."""

    monitors: MonitorService
    secret_keys: tuple[str, ...]
    origin: str
    heartbeat: HeartbeatSettings = HeartbeatSettings()


class WebSocketEndpoints:
    """``origin`` is that of our own pages: a ticket that comes from any other is refused."""

    def __init__(
        self,
        database: Database,
        listen_in_relay: ListenInRelay,
        authenticator: Authenticator,
        monitors: MonitorService,
        tickets: WebSocketTickets,
        origin: str,
        heartbeat: HeartbeatSettings,
    ) -> None:
        self._database, self._listen_in_relay, self._authenticator, self._monitors = (
            database,
            listen_in_relay,
            authenticator,
            monitors,
        )
        self._tickets, self._origin, self._heartbeat = tickets, origin, heartbeat
        self._end_poller = CallEndPoller(database)

    def routes(self) -> list[WebSocketRoute]:
        """Where they are."""
        return [
            WebSocketRoute("/v1/events", self._with_error_responses(self._event_feed)),
            WebSocketRoute("/v1/calls/{call}/audio", self._with_error_responses(self._call_audio)),
        ]

    def _with_error_responses(
        self, handler: Callable[[WebSocket, str], Awaitable[None]]
    ) -> Callable[[WebSocket], Awaitable[None]]:
        async def endpoint(socket: WebSocket) -> None:
            identifier = get_request_id(socket)
            logs.bind(request_id=identifier)
            try:
                await handler(socket, identifier)
            except ApiError as error:
                LOG.info("%s: %s", socket.url.path, error)
                await _deny(socket, problem_details.problem_response(error, identifier), identifier)

        return endpoint

    async def _event_feed(self, socket: WebSocket, request_id: str) -> None:
        query = decoding.decode_query(EventFeedQuery, socket)
        actor = await self._authenticate(EVENT_FEED_ACCESS, socket, query.ticket, request_id)
        async with self._monitors.subscribe(actor.tenant, query.event_filter) as outbox:
            pushing = PushSocket(socket, outbox.get, lambda: outbox.blocked_since, self._heartbeat)
            with self._monitors.key_watcher.register(
                actor.key_id, lambda: pushing.request_close(CloseCode.KEY_REVOKED)
            ):
                await socket.accept()
                await pushing.run()

    async def _call_audio(self, socket: WebSocket, request_id: str) -> None:
        query = decoding.decode_query(ListenQuery, socket)
        actor = await self._authenticate(CALL_AUDIO_ACCESS, socket, query.ticket, request_id)
        call = decoding.decode_path_param(CallId, socket.path_params["call"])
        logs.bind(call=call)
        ear = AudioQueue()
        pushing = PushSocket(socket, ear.get, lambda: ear.blocked_since, self._heartbeat)
        with self._monitors.key_watcher.register(actor.key_id, lambda: pushing.request_close(CloseCode.KEY_REVOKED)):
            async with self._authenticator.limiter.slot():
                await self._database.with_timeout(self._audit_listen_in(actor, call), AUTHENTICATION_TIMEOUT_SECONDS)
            await socket.accept()
            with self._listen_in_relay.subscribe(actor.tenant, call, ear.put):
                async with self._end_poller.watch(
                    (actor.tenant, call), lambda: pushing.request_close(CloseCode.CALL_ENDED)
                ):
                    await pushing.run()

    async def _audit_listen_in(self, actor: Actor, call: str) -> None:
        """That somebody listens is in the trail before anything is heard. Raises NotFound, Conflict."""
        if (await history.get_call(self._database, actor.tenant, call)).ended_at is not None:
            raise Conflict("The call has ended.")
        async with self._database.transaction() as connection:
            await actor.audit(connection, "call.listened", call)

    async def _authenticate(self, rule: AccessRule, socket: WebSocket, ticket: str, request_id: str) -> Actor:
        async with self._authenticator.limiter.slot():
            admission = (
                self._authenticate_ticket(rule, socket, ticket, request_id)
                if ticket
                else self._authenticator.authenticate(rule, socket, request_id)
            )
            actor = await self._database.with_timeout(admission, AUTHENTICATION_TIMEOUT_SECONDS)
        logs.bind(tenant=actor.tenant)
        return actor

    async def _authenticate_ticket(self, rule: AccessRule, socket: WebSocket, ticket: str, request_id: str) -> Actor:
        if socket.headers.get("Origin") != self._origin:
            raise Forbidden("A ticket is for pages of this gateway only.")
        claims = self._tickets.verify(ticket, self._authenticator.wall())
        if claims is None:
            raise self._authenticator.unauthorized(socket, "The ticket is not good: it lasts half a minute.")
        actor = await self._authenticator.authenticate_ticket(claims.key_id, claims.tenant, request_id)
        if rule.permission not in PERMISSIONS[actor.role]:
            raise Forbidden(f"A key of the role {actor.role} may not do that.")
        if rule.requires_tenant and not actor.tenant:
            raise BadRequest("The ticket is to be one of a tenant's.")
        if not await audit.consume_ticket(self._database, claims.audit_id, actor):
            raise Unauthorized("The ticket has been used.")
        return actor


async def _deny(socket: WebSocket, response: Response, request_id: str) -> None:
    response.headers[REQUEST_ID_HEADER] = request_id
    response.headers["Cache-Control"] = "no-store"
    await socket.send_denial_response(response)
