"""WebSocket endpoints: the event feed for monitors, and listen-in to a call.

They are authenticated like every request and before they are accepted: an error is an HTTP response with problem
details, as for any other path.
"""

import logging
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager

import msgspec
from starlette.responses import Response
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket

from vocelio.gateway import logs
from vocelio.gateway.api.framework import decoding, problem_details
from vocelio.gateway.api.framework.authentication import AccessRule, Authenticator, WebSocketTickets
from vocelio.gateway.api.framework.endpoint import AUTHENTICATION_TIMEOUT_SECONDS, REQUEST_ID_HEADER, get_request_id
from vocelio.gateway.api.resources.monitoring import EventFeedQuery, ListenQuery
from vocelio.gateway.api.websockets.listen_in import AudioQueue, CallEndPoller
from vocelio.gateway.api.websockets.push_socket import HeartbeatSettings, PushSocket
from vocelio.gateway.calls.control.listen_in import ListenInRelay
from vocelio.gateway.close_codes import CloseCode
from vocelio.gateway.errors import BadRequest, Conflict, DomainError, Forbidden, Unauthenticated
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
    """What the WebSockets need: the monitor service, the keys that sign tickets, and the console's ``origin``."""

    monitors: MonitorService
    secret_keys: tuple[str, ...]
    origin: str
    heartbeat: HeartbeatSettings = HeartbeatSettings()


class WebSocketEndpoints:
    """Serves the WebSockets. A ticket is only accepted from pages of the console's origin."""

    def __init__(
        self,
        database: Database,
        listen_in_relay: ListenInRelay,
        authenticator: Authenticator,
        tickets: WebSocketTickets,
        dependencies: MonitoringDependencies,
    ) -> None:
        self._database, self._listen_in_relay, self._authenticator = database, listen_in_relay, authenticator
        self._tickets, self._monitors = tickets, dependencies.monitors
        self._origin, self._heartbeat = dependencies.origin, dependencies.heartbeat
        self._end_poller = CallEndPoller(database)

    def routes(self) -> list[WebSocketRoute]:
        """Return the routes."""
        return [
            WebSocketRoute("/v1/events", self._with_error_responses(self._event_feed)),
            WebSocketRoute("/v1/calls/{call}/audio", self._with_error_responses(self._call_audio)),
        ]

    def _with_error_responses(
        self, handler: Callable[[WebSocket, str], Awaitable[None]]
    ) -> Callable[[WebSocket], Awaitable[None]]:
        async def endpoint(socket: WebSocket) -> None:
            request_id = get_request_id(socket)
            logs.bind(request_id=request_id)
            try:
                await handler(socket, request_id)
            except DomainError as error:
                LOG.info("%s: %s", socket.url.path, error, extra=logs.RATE_LIMITED)
                await _deny(socket, problem_details.problem_response(error, request_id), request_id)

        return endpoint

    async def _event_feed(self, socket: WebSocket, request_id: str) -> None:
        query = decoding.decode_query(EventFeedQuery, socket)
        actor = await self._authenticate(EVENT_FEED_ACCESS, socket, query.ticket, request_id)
        async with self._monitors.subscribe(actor.tenant, query.event_filter) as send_queue:
            push_socket = PushSocket(socket, send_queue.get, lambda: send_queue.blocked_since, self._heartbeat)
            with self._close_when_revoked(actor, push_socket):
                await socket.accept()
                await push_socket.run()

    async def _call_audio(self, socket: WebSocket, request_id: str) -> None:
        query = decoding.decode_query(ListenQuery, socket)
        actor = await self._authenticate(CALL_AUDIO_ACCESS, socket, query.ticket, request_id)
        call = decoding.decode_path_param(CallId, socket.path_params["call"])
        logs.bind(call=call)
        audio = AudioQueue()
        push_socket = PushSocket(socket, audio.get, lambda: audio.blocked_since, self._heartbeat)
        with self._close_when_revoked(actor, push_socket):
            await self._database.with_timeout(self._audit_listen_in(actor, call), AUTHENTICATION_TIMEOUT_SECONDS)
            await socket.accept()
            with self._listen_in_relay.subscribe(actor.tenant, call, audio.put):
                async with self._end_poller.watch(
                    (actor.tenant, call), lambda: push_socket.request_close(CloseCode.CALL_ENDED)
                ):
                    await push_socket.run()

    def _close_when_revoked(self, actor: Actor, push_socket: PushSocket) -> AbstractContextManager[None]:
        return self._monitors.key_watcher.register(
            actor.key_id, lambda: push_socket.request_close(CloseCode.KEY_REVOKED)
        )

    async def _audit_listen_in(self, actor: Actor, call: str) -> None:
        """Write the audit entry, before any audio is sent. Raises NotFound, Conflict."""
        if (await history.get_call(self._database, actor.tenant, call)).ended_at is not None:
            raise Conflict("The call has ended.")
        async with self._database.transaction() as connection:
            await actor.audit(connection, "call.listened_in", call)

    async def _authenticate(self, rule: AccessRule, socket: WebSocket, ticket: str, request_id: str) -> Actor:
        authentication = (
            self._authenticate_ticket(rule, socket, ticket, request_id)
            if ticket
            else self._authenticator.authenticate(rule, socket, request_id)
        )
        actor = await self._database.with_timeout(authentication, AUTHENTICATION_TIMEOUT_SECONDS)
        logs.bind(tenant=actor.tenant)
        return actor

    async def _authenticate_ticket(self, rule: AccessRule, socket: WebSocket, ticket: str, request_id: str) -> Actor:
        if socket.headers.get("Origin") != self._origin:
            raise Forbidden("Tickets are only accepted from pages of this gateway.")
        claims = self._tickets.verify(ticket, self._authenticator.wall())
        if claims is None:
            raise self._authenticator.unauthenticated(socket, "The ticket is invalid or expired.")
        actor = await self._authenticator.authenticate_ticket(claims.key_id, claims.tenant, request_id)
        if rule.permission not in PERMISSIONS[actor.role]:
            raise Forbidden(f"The role {actor.role} does not have the permission `{rule.permission}`.")
        if rule.requires_tenant and not actor.tenant:
            raise BadRequest("The ticket has to be issued for a tenant.")
        if not await audit.consume_ticket(self._database, claims.audit_id, actor):
            raise Unauthenticated("The ticket has been used.")
        return actor


async def _deny(socket: WebSocket, response: Response, request_id: str) -> None:
    response.headers[REQUEST_ID_HEADER] = request_id
    response.headers["Cache-Control"] = "no-store"
    await socket.send_denial_response(response)
