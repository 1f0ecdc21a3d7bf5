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
from vocelio.gateway.api.framework.authentication import Authenticator
from vocelio.gateway.api.framework.decoding import NOT_GIVEN, HandlerSignature
from vocelio.gateway.api.framework.operation import ApiResponse, Operation, RequestContext
from vocelio.gateway.api.framework.websocket_tickets import WebSocketTickets
from vocelio.gateway.calls.components import CallComponents
from vocelio.gateway.crypto.encryption import SecretCipher
from vocelio.gateway.errors import ApiError, NotFound
from vocelio.gateway.prompts.render_worker import PromptRenderWorker
from vocelio.gateway.store.audit import Actor
from vocelio.gateway.store.db.database import Database
from vocelio.gateway.twilio.provisioning.worker import NumberProvisioner

LOG = logging.getLogger(__name__)

OPERATION_TIMEOUT_SECONDS = 30.0  # of an operation: the check of a large flow takes one or two
AUTHENTICATION_TIMEOUT_SECONDS = 5.0  # three small queries
REQUEST_ID_HEADER = "X-Request-Id"

_VALID_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)


class Endpoint:
    """One operation."""

    def __init__(
        self,
        operation: Operation,
        database: Database,
        cipher: SecretCipher,
        calls: CallComponents,
        authenticator: Authenticator,
        provisioner: NumberProvisioner | None = None,
        render_worker: PromptRenderWorker | None = None,
        tickets: WebSocketTickets | None = None,
    ) -> None:
        self.operation = operation
        self._signature = HandlerSignature(operation.handler)
        self._database, self._cipher, self._calls, self._authenticator = database, cipher, calls, authenticator
        self._provisioner, self._render_worker, self._tickets = (
            provisioner,
            render_worker,
            tickets or WebSocketTickets(),
        )

    async def handle(self, request: Request, request_id: str) -> Response:
        """The answer to a request. Raises Refused."""
        place = self._authenticator.limiter.slot()
        async with place:
            admission = self._authenticator.authenticate(self.operation.access_rule, request, request_id)
            actor = await self._database.with_timeout(admission, AUTHENTICATION_TIMEOUT_SECONDS)
        logs.bind(tenant=actor.tenant)
        context = RequestContext(
            database=self._database,
            cipher=self._cipher,
            calls=self._calls,
            actor=actor,
            if_match=decoding.parse_if_match(request.headers.getlist("If-Match"))
            if self.operation.conditional
            else None,
            accept_header=request.headers.get("Accept", "application/json"),
            provisioner=self._provisioner,
            range_header=request.headers.get("Range", ""),
            render_worker=self._render_worker,
            tickets=self._tickets,
            slot=place,
        )
        arguments = await self._decode_arguments(request)
        async with place:
            result = await self._database.with_timeout(
                self._call_handler(context, arguments), OPERATION_TIMEOUT_SECONDS
            )
        return _to_response(result, actor)

    async def _call_handler(self, context: RequestContext, arguments: dict[str, Any]) -> Any:
        return await self.operation.handler(context, **arguments)

    async def _decode_arguments(self, request: Request) -> dict[str, Any]:
        wanted, given = self._signature, request.path_params
        made = {name: decoding.decode_path_param(hint, given[name]) for name, hint in wanted.path_params.items()}
        if wanted.query_type is not None:
            made["query"] = decoding.decode_query(wanted.query_type, request)
        else:
            decoding.reject_query(request)
        if wanted.body_type is not None:
            made["body"] = await self._decode_body(request)
        return made

    async def _decode_body(self, request: Request) -> Any:
        raw = await decoding.read_body(request, self.operation.max_body_bytes)
        default = self._signature.body_default
        if not raw and default is not NOT_GIVEN:
            return default
        decoding.require_content_type(request.headers, self.operation.content_type or "application/json")
        return raw if self.operation.content_type else decoding.decode_json_body(self._signature.body_type, raw)


class PathEndpoint:
    """All operations of one path, by method; an ASGI application, so that other methods come here, too."""

    def __init__(self, endpoints: Mapping[str, Endpoint]) -> None:
        self._endpoints = endpoints

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        identifier = get_request_id(request)
        logs.bind(request_id=identifier)
        response = await self._handle_errors(request, identifier)
        await response(scope, receive, send)

    async def _handle_errors(self, request: Request, request_id: str) -> Response:
        try:
            response = await self._dispatch(request, request_id)
        except ApiError as error:
            LOG.info("%s %s: %s", request.method, request.url.path, error)
            response = problem_details.problem_response(error, request_id)
        except ClientDisconnect:
            response = Response(status_code=400)  # nobody reads it
        except Exception:
            LOG.exception("%s %s failed", request.method, request.url.path)
            detail = "This is our mistake. The log has it by the request's id."
            response = problem_details.build_problem(500, "Internal error", detail, request_id)
        response.headers[REQUEST_ID_HEADER] = request_id
        response.headers.setdefault("Cache-Control", "no-store")
        return response

    async def _dispatch(self, request: Request, request_id: str) -> Response:
        endpoint = self._endpoints.get("GET" if request.method == "HEAD" else request.method)
        if endpoint is None:
            allowed = ", ".join(sorted(self._endpoints))
            detail = f"Here one can {allowed}."
            return problem_details.build_problem(
                405, "Method not allowed", detail, request_id, headers={"Allow": allowed}
            )
        return await endpoint.handle(request, request_id)


class NotFoundEndpoint(PathEndpoint):
    """What no path of the table leads to."""

    def __init__(self) -> None:
        super().__init__({})

    async def _dispatch(self, request: Request, request_id: str) -> Response:
        raise NotFound


def get_request_id(request: HTTPConnection) -> str:
    """The client's identifier of the request, where it is one that can go into a log; else a new one."""
    given = request.headers.getlist(REQUEST_ID_HEADER)
    return given[0] if len(given) == 1 and _VALID_REQUEST_ID.fullmatch(given[0]) else secrets.token_hex(8)


def _to_response(result: Any, actor: Actor) -> Response:
    answer = result if isinstance(result, ApiResponse) else ApiResponse(result, 204 if result is None else 200)
    headers = dict(answer.headers)
    if not actor.key_id:
        headers["Cache-Control"] = "no-cache"  # what everybody may see may be kept, too
    if answer.etag is not None:
        headers["ETag"] = f'"{answer.etag}"'
    if answer.location:
        headers["Location"] = answer.location
    if answer.stream is not None:
        return StreamingResponse(answer.stream, answer.status, headers, answer.media_type)
    if answer.body is None:
        return Response(status_code=answer.status, headers=headers)
    body = answer.body if isinstance(answer.body, bytes) else msgspec.json.encode(answer.body)
    return Response(body, answer.status, headers, answer.media_type)
