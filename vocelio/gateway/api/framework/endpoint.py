"""From a row of the table to an answer: the way of every request of the API.

What is checked comes in this order, so that nobody learns of a thing what its key may not know: the key, how often it
asks, what its role allows, the tenant, the path, the query, the body. Every answer names its request.
"""

import logging
import re
import secrets
from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.requests import ClientDisconnect, HTTPConnection, Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from vocelio.gateway import logs
from vocelio.gateway.api.framework import decoding, problem_details
from vocelio.gateway.api.framework.authentication import Gate
from vocelio.gateway.api.framework.decoding import NOT_GIVEN, Signature
from vocelio.gateway.api.framework.operation import Answer, Context, Operation
from vocelio.gateway.api.framework.websocket_tickets import Tickets
from vocelio.gateway.calls.registry import Calls
from vocelio.gateway.crypto.encryption import Vault
from vocelio.gateway.errors import NotFound, Refused
from vocelio.gateway.prompts.render_worker import Renderer
from vocelio.gateway.store.audit.actor import Actor
from vocelio.gateway.store.db.database import Database
from vocelio.gateway.twilio.provisioning.worker import Registrar

LOG = logging.getLogger(__name__)

SECONDS = 30.0  # of an operation: the check of a large flow takes one or two
ADMISSION_SECONDS = 5.0  # three small queries
REQUEST = "X-Request-Id"

_PLAIN = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)


class Endpoint:
    """One operation."""

    def __init__(
        self,
        operation: Operation,
        database: Database,
        vault: Vault,
        calls: Calls,
        gate: Gate,
        registrar: Registrar | None = None,
        renderer: Renderer | None = None,
        tickets: Tickets | None = None,
    ) -> None:
        self.operation = operation
        self._signature = Signature(operation.handler)
        self._database, self._vault, self._calls, self._gate = database, vault, calls, gate
        self._registrar, self._renderer, self._tickets = registrar, renderer, tickets or Tickets()

    async def answer(self, request: Request, identifier: str) -> Response:
        """The answer to a request. Raises Refused."""
        place = self._gate.places.one()
        async with place:
            admission = self._gate.admit(self.operation.entrance, request, identifier)
            actor = await self._database.in_time(admission, ADMISSION_SECONDS)
        logs.about(tenant=actor.tenant)
        context = Context(
            database=self._database,
            vault=self._vault,
            calls=self._calls,
            actor=actor,
            if_match=decoding.if_match(request.headers.getlist("If-Match")) if self.operation.conditional else None,
            accept=request.headers.get("Accept", "application/json"),
            registrar=self._registrar,
            range=request.headers.get("Range", ""),
            renderer=self._renderer,
            tickets=self._tickets,
            place=place,
        )
        arguments = await self._arguments(request)
        async with place:
            result = await self._database.in_time(self._handled(context, arguments), SECONDS)
        return _response(result, actor)

    async def _handled(self, context: Context, arguments: dict[str, Any]) -> Any:
        return await self.operation.handler(context, **arguments)

    async def _arguments(self, request: Request) -> dict[str, Any]:
        wanted, given = self._signature, request.path_params
        made = {name: decoding.path_part(hint, given[name]) for name, hint in wanted.path.items()}
        if wanted.query is not None:
            made["query"] = decoding.query(wanted.query, request)
        else:
            decoding.no_query(request)
        if wanted.body is not None:
            made["body"] = await self._body(request)
        return made

    async def _body(self, request: Request) -> Any:
        raw = await decoding.raw_body(request, self.operation.limit)
        default = self._signature.body_default
        if not raw and default is not NOT_GIVEN:
            return default
        decoding.check_media(request.headers, self.operation.raw or "application/json")
        return raw if self.operation.raw else decoding.json_body(self._signature.body, raw)


class Resource:
    """All operations of one path, by method; an ASGI application, so that other methods come here, too."""

    def __init__(self, endpoints: Mapping[str, Endpoint]) -> None:
        self._endpoints = endpoints

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        identifier = identified(request)
        logs.about(request=identifier)
        response = await self._answered(request, identifier)
        await response(scope, receive, send)

    async def _answered(self, request: Request, identifier: str) -> Response:
        try:
            response = await self._answer(request, identifier)
        except Refused as error:
            LOG.info("%s %s: %s", request.method, request.url.path, error)
            response = problem_details.refusal(error, identifier)
        except ClientDisconnect:
            response = Response(status_code=400)  # nobody reads it
        except Exception:
            LOG.exception("%s %s failed", request.method, request.url.path)
            detail = "This is our mistake. The log has it by the request's id."
            response = problem_details.problem(500, "Internal error", detail, identifier)
        response.headers[REQUEST] = identifier
        response.headers.setdefault("Cache-Control", "no-store")
        return response

    async def _answer(self, request: Request, identifier: str) -> Response:
        endpoint = self._endpoints.get("GET" if request.method == "HEAD" else request.method)
        if endpoint is None:
            allowed = ", ".join(sorted(self._endpoints))
            detail = f"Here one can {allowed}."
            return problem_details.problem(405, "Method not allowed", detail, identifier, headers={"Allow": allowed})
        return await endpoint.answer(request, identifier)


class Nowhere(Resource):
    """What no path of the table leads to."""

    def __init__(self) -> None:
        super().__init__({})

    async def _answer(self, request: Request, identifier: str) -> Response:
        raise NotFound


def identified(request: HTTPConnection) -> str:
    """The client's identifier of the request, where it is one that can go into a log; else a new one."""
    given = request.headers.getlist(REQUEST)
    return given[0] if len(given) == 1 and _PLAIN.fullmatch(given[0]) else secrets.token_hex(8)


def _response(result: Any, actor: Actor) -> Response:
    answer = result if isinstance(result, Answer) else Answer(result, 204 if result is None else 200)
    headers = dict(answer.headers)
    if not actor.key:
        headers["Cache-Control"] = "no-cache"  # what everybody may see may be kept, too
    if answer.etag is not None:
        headers["ETag"] = f'"{answer.etag}"'
    if answer.location:
        headers["Location"] = answer.location
    if answer.stream is not None:
        return StreamingResponse(answer.stream, answer.status, headers, answer.media)
    if answer.body is None:
        return Response(status_code=answer.status, headers=headers)
    body = answer.body if isinstance(answer.body, bytes) else msgspec.json.encode(answer.body)
    return Response(body, answer.status, headers, answer.media)
