"""Refusals as they are answered: problem details (RFC 9457)."""

import math
from collections.abc import Mapping

import msgspec
from starlette.responses import Response

from vocelio.engine.diagnostics import Diagnostic
from vocelio.gateway.errors import ApiError, DatabaseUnavailable, TooManyRequests, Unauthorized

PROBLEM_MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_SECONDS = 5  # after which another try is worth it


class ProblemDetails(msgspec.Struct, frozen=True, kw_only=True):
    """Why a request was refused. ``errors`` has an entry for every field that is wrong, with its path.

    ``request_id`` is that of the log and of the header X-Request-Id.
    """

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    request_id: str
    errors: list[Diagnostic] = []


def problem_response(error: ApiError, request_id: str) -> Response:
    """A refusal's answer."""
    return build_problem(error.status, error.title, str(error), request_id, list(error.errors), _error_headers(error))


def build_problem(
    status: int,
    title: str,
    detail: str,
    request_id: str,
    errors: list[Diagnostic] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """The answer."""
    details = ProblemDetails(title=title, status=status, detail=detail, request_id=request_id, errors=errors or [])
    return Response(msgspec.json.encode(details), status, headers, PROBLEM_MEDIA_TYPE)


def _error_headers(error: ApiError) -> dict[str, str]:
    match error:
        case Unauthorized():
            return {"WWW-Authenticate": "Bearer"}
        case TooManyRequests():
            return {"Retry-After": str(math.ceil(error.retry_after_seconds))}
        case DatabaseUnavailable():
            return {"Retry-After": str(RETRY_AFTER_SECONDS)}
    return {}
