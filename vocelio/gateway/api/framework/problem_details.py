"""Error responses: the HTTP status of each domain error, as problem details (RFC 9457).

This is the only place that translates errors into HTTP. The titles are IANA's reason phrases.
"""

import math
from collections.abc import Mapping

import msgspec
from starlette.responses import Response

from vocelio.engine.diagnostics import Diagnostic
from vocelio.gateway import errors
from vocelio.gateway.errors import DomainError

PROBLEM_MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_SECONDS = 5  # in answers with 503: a restarted database or a full pool has recovered by then

REASON_PHRASES = {
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    409: "Conflict",
    412: "Precondition Failed",
    413: "Content Too Large",
    415: "Unsupported Media Type",
    422: "Unprocessable Content",
    428: "Precondition Required",
    429: "Too Many Requests",
    500: "Internal Server Error",
    502: "Bad Gateway",
    503: "Service Unavailable",
}
"""https://www.iana.org/assignments/http-status-codes"""

STATUSES: Mapping[type[DomainError], int] = {
    errors.BadRequest: 400,
    errors.Unauthenticated: 401,
    errors.Forbidden: 403,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.RevisionConflict: 412,
    errors.InputTooLarge: 413,
    errors.UnsupportedMediaType: 415,
    errors.InvalidInput: 422,
    errors.RevisionRequired: 428,
    errors.RateLimited: 429,
    errors.TwilioError: 502,
    errors.TwilioUnavailable: 503,
    errors.DatabaseUnavailable: 503,
}
"""By class; a subclass has the status of its base."""

_REMEDIES: Mapping[type[DomainError], str] = {
    errors.RevisionConflict: "If-Match must be the ETag of the latest answer.",
    errors.RevisionRequired: "Send its ETag in the header If-Match.",
    errors.TenantRequired: "Name it in the header Vocelio-Tenant.",
}
"""What the client has to send, for errors whose message cannot know HTTP's headers."""


class ProblemDetails(msgspec.Struct, frozen=True, kw_only=True):
    """Why a request failed. ``errors`` has an entry with its path for every invalid field.

    ``request_id`` is the one in the log and in the header X-Request-Id.
    """

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    request_id: str
    errors: list[Diagnostic] = []


def status_of(error: DomainError) -> int:
    """Return the HTTP status of an error; 500 if none is defined."""
    return next((STATUSES[kind] for kind in type(error).__mro__ if kind in STATUSES), 500)


def problem_response(error: DomainError, request_id: str) -> Response:
    """Build the response for an error."""
    remedy = _REMEDIES.get(type(error), "")
    detail = f"{error} {remedy}" if remedy else str(error)
    return build_problem(status_of(error), detail, request_id, list(error.errors), _error_headers(error))


def build_problem(
    status: int,
    detail: str,
    request_id: str,
    diagnostics: list[Diagnostic] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Build a response with problem details."""
    problem = ProblemDetails(
        title=REASON_PHRASES[status], status=status, detail=detail, request_id=request_id, errors=diagnostics or []
    )
    return Response(msgspec.json.encode(problem), status, headers, PROBLEM_MEDIA_TYPE)


def _error_headers(error: DomainError) -> dict[str, str]:
    match error:
        case errors.Unauthenticated():
            return {"WWW-Authenticate": "Bearer"}
        case errors.RateLimited():
            return {"Retry-After": str(math.ceil(error.retry_after_seconds))}
        case errors.DatabaseUnavailable() | errors.TwilioUnavailable():
            return {"Retry-After": str(RETRY_AFTER_SECONDS)}
    return {}
