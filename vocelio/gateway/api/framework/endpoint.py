"""ASGI endpoints of the API: from a request to a response, by the operation's row.

Checks have a fixed order, so that a key learns nothing about what it may not see: key, rate limit, role, tenant, path,
query, body. Every response carries the request's id.
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

from vocelio.gateway import clock, logs
from vocelio.gateway.api.framework import decoding, problem_details
from vocelio.gateway.api.framework.authentication import Authenticator, WebSocketTickets
from vocelio.gateway.api.framework.decoding import NOT_GIVEN, HandlerSignature
from vocelio.gateway.api.framework.operation import ApiResponse, Operation, RequestContext
from vocelio.gateway.calls.components import CallComponents
from vocelio.gateway.crypto import SecretCipher
from vocelio.gateway.errors import DomainError, NotFound
from vocelio.gateway.prompts.render_worker import PromptRenderWorker
from vocelio.gateway.store.audit import Actor
from vocelio.gateway.store.db.database import Database
from vocelio.gateway.twilio.provisioning.worker import NumberProvisioner

LOG = logging.getLogger(__name__)

OPERATION_TIMEOUT_SECONDS = 30.0  # validating a large flow takes one or two
AUTHENTICATION_TIMEOUT_SECONDS = 5.0  # three small queries
REQUEST_ID_HEADER = "X-Request-Id"

_VALID_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
_ENCODER = msgspec.json.Encoder(enc_hook=clock.encode_hook)


class Endpoint:
    """Serves one operation."""

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
        self._provisioner, self._render_worker = provisioner, render_worker
        self._tickets = tickets or WebSocketTickets()

    async def handle(self, request: Request, request_id: str) -> Response:
        """Return the response to a request. Raises DomainError."""
        authentication = self._authenticator.authenticate(self.operation.access_rule, request, request_id)
        actor = await self._database.with_timeout(authentication, AUTHENTICATION_TIMEOUT_SECONDS)
        logs.bind(tenant=actor.tenant)
        conditional = self.operation.conditional
        context = RequestContext(
            database=self._database,
            cipher=self._cipher,
            calls=self._calls,
            actor=actor,
            if_match=decoding.parse_if_match(request.headers.getlist("If-Match")) if conditional else None,
            accept_header=request.headers.get("Accept", "application/json"),
            provisioner=self._provisioner,
            range_header=request.headers.get("Range", ""),
            render_worker=self._render_worker,
            tickets=self._tickets,
        )
        arguments = await self._decode_arguments(request)
        result = await self._database.with_timeout(self._call_handler(context, arguments), OPERATION_TIMEOUT_SECONDS)
        return _to_response(result, actor)

    async def _call_handler(self, context: RequestContext, arguments: dict[str, Any]) -> Any:
        return await self.operation.handler(context, **arguments)

    async def _decode_arguments(self, request: Request) -> dict[str, Any]:
        signature, given = self._signature, request.path_params
        arguments = {
            name: decoding.decode_path_param(hint, given[name]) for name, hint in signature.path_params.items()
        }
        if signature.query_type is not None:
            arguments["query"] = decoding.decode_query(signature.query_type, request)
        else:
            decoding.reject_query(request)
        if signature.body_type is not None:
            arguments["body"] = await self._decode_body(request)
        return arguments

    async def _decode_body(self, request: Request) -> Any:
        raw = await decoding.read_body(request, self.operation.max_body_bytes)
        default = self._signature.body_default
        if not raw and default is not NOT_GIVEN:
            return default
        decoding.require_content_type(request.headers, self.operation.content_type or "application/json")
        return raw if self.operation.content_type else decoding.decode_json_body(self._signature.body_type, raw)


class PathEndpoint:
    """Serves all operations of one path. An ASGI application, so that it gets requests of any method."""

    def __init__(self, endpoints: Mapping[str, Endpoint]) -> None:
        self._endpoints = endpoints

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        request_id = get_request_id(request)
        logs.bind(request_id=request_id)
        response = await self._handle_errors(request, request_id)
        await response(scope, receive, send)

    async def _handle_errors(self, request: Request, request_id: str) -> Response:
        try:
            response = await self._dispatch(request, request_id)
        except DomainError as error:
            LOG.info("%s %s: %s", request.method, request.url.path, error, extra=logs.RATE_LIMITED)
            response = problem_details.problem_response(error, request_id)
        except ClientDisconnect:
            response = Response(status_code=400)  # is not read by anyone
        except Exception:
            LOG.exception("%s %s failed", request.method, request.url.path)
            detail = "An internal error occurred. The log has it under the request id."
            response = problem_details.build_problem(500, detail, request_id)
        response.headers[REQUEST_ID_HEADER] = request_id
        response.headers.setdefault("Cache-Control", "no-store")
        return response

    async def _dispatch(self, request: Request, request_id: str) -> Response:
        endpoint = self._endpoints.get("GET" if request.method == "HEAD" else request.method)
        if endpoint is None:
            allowed = ", ".join(sorted(self._endpoints))
            return problem_details.build_problem(
                405, f"Allowed methods: {allowed}.", request_id, headers={"Allow": allowed}
            )
        return await endpoint.handle(request, request_id)


class NotFoundEndpoint(PathEndpoint):
    """Answers all paths that are not in the table of routes."""

    def __init__(self) -> None:
        super().__init__({})

    async def _dispatch(self, request: Request, request_id: str) -> Response:
        raise NotFound


def get_request_id(request: HTTPConnection) -> str:
    """Return the client's X-Request-Id if it is safe to log, else a new one."""
    given = request.headers.getlist(REQUEST_ID_HEADER)
    return given[0] if len(given) == 1 and _VALID_REQUEST_ID.fullmatch(given[0]) else secrets.token_hex(8)


def _to_response(result: Any, actor: Actor) -> Response:
    answer = result if isinstance(result, ApiResponse) else ApiResponse(result, 204 if result is None else 200)
    headers = dict(answer.headers)
    if not actor.key_id:
        headers["Cache-Control"] = "no-cache"  # public: may be stored, and is revalidated
    if answer.etag is not None:
        headers["ETag"] = f'"{answer.etag}"'
    if answer.location:
        headers["Location"] = answer.location
    if answer.stream is not None:
        return StreamingResponse(answer.stream, answer.status, headers, answer.media_type)
    if answer.body is None:
        return Response(status_code=answer.status, headers=headers)
    body = answer.body if isinstance(answer.body, bytes) else _ENCODER.encode(answer.body)
    return Response(body, answer.status, headers, answer.media_type)
