"""Refusals as they are answered: problem details (RFC 9457)."""

import math
from collections.abc import Mapping

import msgspec
from starlette.responses import Response

from vocelio.engine.diagnostics import Problem
from vocelio.gateway.errors import Refused, StoreUnavailable, TooMany, Unauthorized

MEDIA = "application/problem+json"
STORE_SECONDS = 5  # after which another try is worth it


class ProblemDetails(msgspec.Struct, frozen=True, kw_only=True):
    """Why a request was refused. ``errors`` has an entry for every field that is wrong, with its path.

    ``request_id`` is that of the log and of the header X-Request-Id.
    """

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    request_id: str
    errors: list[Problem] = []


def refusal(error: Refused, request: str) -> Response:
    """A refusal's answer."""
    return problem(error.status, error.title, str(error), request, list(error.errors), _headers(error))


def problem(
    status: int,
    title: str,
    detail: str,
    request: str,
    errors: list[Problem] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """The answer."""
    details = ProblemDetails(title=title, status=status, detail=detail, request_id=request, errors=errors or [])
    return Response(msgspec.json.encode(details), status, headers, MEDIA)


def _headers(error: Refused) -> dict[str, str]:
    match error:
        case Unauthorized():
            return {"WWW-Authenticate": "Bearer"}
        case TooMany():
            return {"Retry-After": str(math.ceil(error.seconds))}
        case StoreUnavailable():
            return {"Retry-After": str(STORE_SECONDS)}
    return {}
