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
from vocelio.gateway.api.framework.authentication import Entrance, Gate
from vocelio.gateway.api.framework.endpoint import ADMISSION_SECONDS, REQUEST, identified
from vocelio.gateway.api.framework.websocket_tickets import Tickets
from vocelio.gateway.api.resources.live import ListenIn, Watch
from vocelio.gateway.api.websockets.listen_in import Ear, Endings
from vocelio.gateway.api.websockets.push_socket import GONE, OVER, Pace, Pushing
from vocelio.gateway.calls.registry import Calls
from vocelio.gateway.errors import BadRequest, Conflict, Forbidden, Refused, Unauthorized
from vocelio.gateway.model.roles import PERMISSIONS
from vocelio.gateway.monitors.service import Monitors
from vocelio.gateway.store.audit import log
from vocelio.gateway.store.audit.actor import Actor
from vocelio.gateway.store.calls import history
from vocelio.gateway.store.calls.history import CallId
from vocelio.gateway.store.db.database import Database

LOG = logging.getLogger(__name__)

FEED, AUDIO = Entrance("read", tenant=False), Entrance("operate")
SOCKETS = {"/v1/events": FEED, "/v1/calls/{call}/audio": AUDIO}


class Watching(msgspec.Struct, frozen=True):
    """What is needed of the world: the monitors, ``keys`` that the processes share, the ``origin`` of our own pages."""

    monitors: Monitors
    keys: tuple[str, ...]
    origin: str
    pace: Pace = Pace()


class Sockets:
    """``origin`` is that of our own pages: a ticket that comes from any other is refused."""

    def __init__(
        self,
        database: Database,
        registry: Calls,
        gate: Gate,
        monitors: Monitors,
        tickets: Tickets,
        origin: str,
        pace: Pace,
    ) -> None:
        self._database, self._calls, self._gate, self._monitors = database, registry, gate, monitors
        self._tickets, self._origin, self._pace = tickets, origin, pace
        self._endings = Endings(database)

    def routes(self) -> list[WebSocketRoute]:
        """Where they are."""
        return [
            WebSocketRoute("/v1/events", self._answering(self._watch)),
            WebSocketRoute("/v1/calls/{call}/audio", self._answering(self._listen)),
        ]

    def _answering(self, work: Callable[[WebSocket, str], Awaitable[None]]) -> Callable[[WebSocket], Awaitable[None]]:
        async def endpoint(socket: WebSocket) -> None:
            identifier = identified(socket)
            logs.about(request=identifier)
            try:
                await work(socket, identifier)
            except Refused as error:
                LOG.info("%s: %s", socket.url.path, error)
                await _deny(socket, problem_details.refusal(error, identifier), identifier)

        return endpoint

    async def _watch(self, socket: WebSocket, identifier: str) -> None:
        query = decoding.query(Watch, socket)
        actor = await self._admitted(FEED, socket, query.ticket, identifier)
        async with self._monitors.feed(actor.tenant, query.wanted) as outbox:
            pushing = Pushing(socket, outbox.take, lambda: outbox.behind, self._pace)
            with self._monitors.guard.admitted(actor.key, lambda: pushing.end(GONE)):
                await socket.accept()
                await pushing.run()

    async def _listen(self, socket: WebSocket, identifier: str) -> None:
        query = decoding.query(ListenIn, socket)
        actor = await self._admitted(AUDIO, socket, query.ticket, identifier)
        call = decoding.path_part(CallId, socket.path_params["call"])
        logs.about(call=call)
        ear = Ear()
        pushing = Pushing(socket, ear.take, lambda: ear.behind, self._pace)
        with self._monitors.guard.admitted(actor.key, lambda: pushing.end(GONE)):
            async with self._gate.places.one():
                await self._database.in_time(self._recorded(actor, call), ADMISSION_SECONDS)
            await socket.accept()
            with self._calls.audience.listening(actor.tenant, call, ear.put):
                async with self._endings.told((actor.tenant, call), lambda: pushing.end(OVER)):
                    await pushing.run()

    async def _recorded(self, actor: Actor, call: str) -> None:
        """That somebody listens is in the trail before anything is heard. Raises NotFound, Conflict."""
        if (await history.find(self._database, actor.tenant, call)).ended is not None:
            raise Conflict("The call has ended.")
        async with self._database.writing() as connection:
            await actor.record(connection, "call.listened", call)

    async def _admitted(self, entrance: Entrance, socket: WebSocket, ticket: str, identifier: str) -> Actor:
        async with self._gate.places.one():
            admission = (
                self._by_ticket(entrance, socket, ticket, identifier)
                if ticket
                else self._gate.admit(entrance, socket, identifier)
            )
            actor = await self._database.in_time(admission, ADMISSION_SECONDS)
        logs.about(tenant=actor.tenant)
        return actor

    async def _by_ticket(self, entrance: Entrance, socket: WebSocket, ticket: str, identifier: str) -> Actor:
        if socket.headers.get("Origin") != self._origin:
            raise Forbidden("A ticket is for pages of this gateway only.")
        claims = self._tickets.check(ticket, self._gate.wall())
        if claims is None:
            raise self._gate.unauthorized(socket, "The ticket is not good: it lasts half a minute.")
        actor = await self._gate.named(claims.key, claims.tenant, identifier)
        if entrance.permission not in PERMISSIONS[actor.role]:
            raise Forbidden(f"A key of the role {actor.role} may not do that.")
        if entrance.tenant and not actor.tenant:
            raise BadRequest("The ticket is to be one of a tenant's.")
        if not await log.use(self._database, claims.row, actor):
            raise Unauthorized("The ticket has been used.")
        return actor


async def _deny(socket: WebSocket, response: Response, identifier: str) -> None:
    response.headers[REQUEST] = identifier
    response.headers["Cache-Control"] = "no-store"
    await socket.send_denial_response(response)
