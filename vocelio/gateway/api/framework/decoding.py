"""Decode requests by the annotations of their handler. All invalid fields are reported at once, each with its path.

A path parameter that no resource can have, such as a name with a space, is NotFound.
"""

import asyncio
import inspect
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, get_args, get_origin, get_type_hints

import msgspec
from starlette.requests import HTTPConnection, Request

from vocelio.engine import decoding
from vocelio.engine.diagnostics import Diagnostics, truncate
from vocelio.gateway import clock
from vocelio.gateway.api.framework.operation import ApiResponse, Handler, RequestContext
from vocelio.gateway.errors import BadRequest, InputTooLarge, InvalidInput, NotFound, UnsupportedMediaType

BODY_TIMEOUT_SECONDS = 60.0  # a sound of 30 MB at 4 Mbit/s
MAX_QUERY_LENGTH = 4_096  # characters
MAX_BODY_DEPTH = 50  # levels; departments have five, and flow documents are checked on their own
NOT_GIVEN = inspect.Parameter.empty

_ETAG = re.compile(r'(?:W/)?"([1-9][0-9]{0,8})"', re.ASCII)
_CONTROL_CHARACTER = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True)
class HandlerSignature:
    """The annotations of a handler: what it gets and returns."""

    handler: Handler

    @cached_property
    def hints(self) -> dict[str, Any]:
        """Annotations by parameter name, without the RequestContext."""
        hints = get_type_hints(self.handler, include_extras=True)
        return {name: hint for name, hint in hints.items() if hint is not RequestContext}

    @property
    def path_params(self) -> dict[str, Any]:
        """Types of the path parameters, by name."""
        return {name: hint for name, hint in self.hints.items() if name not in ("body", "query", "return")}

    @property
    def query_type(self) -> type[msgspec.Struct] | None:
        """Struct of the query parameters, if there are any."""
        return self.hints.get("query")

    @property
    def body_type(self) -> Any:
        """Type of the body; None if there is none."""
        return self.hints.get("body")

    @property
    def body_default(self) -> Any:
        """What an omitted body stands for, or NOT_GIVEN."""
        return inspect.signature(self.handler).parameters["body"].default

    @property
    def response_type(self) -> Any:
        """Type of the result, without the ApiResponse around it."""
        hint = self.hints["return"]
        return get_args(hint)[0] if get_origin(hint) is ApiResponse else hint


def decode_path_param(hint: Any, text: str) -> Any:
    """Decode a path parameter. Raises NotFound."""
    try:
        if _CONTROL_CHARACTER.search(text):
            raise NotFound
        return msgspec.convert(text, hint, strict=False)
    except msgspec.ValidationError:
        raise NotFound from None


def decode_query(query_type: type[msgspec.Struct], request: HTTPConnection) -> Any:
    """Decode the query parameters. Raises InvalidInput."""
    if len(request.url.query) > MAX_QUERY_LENGTH:
        raise InvalidInput(f"The query has more than {MAX_QUERY_LENGTH} characters.")
    diagnostics, values = Diagnostics(), dict[str, Any]()
    hints = decoding.field_types(query_type)
    fields = {field.encode_name: field for field in decoding.struct_fields(query_type)}
    for name, text in request.query_params.multi_items():
        if name not in fields:
            message = f"there is no query parameter `{truncate(name)}`"
            diagnostics.unknown_word(truncate(name), "unknown-field", message, name, fields)
        elif fields[name].name in values:
            diagnostics.error(name, "repeated", "this parameter may be given only once")
        else:
            values[fields[name].name] = _decode_text(hints[fields[name].name], name, text, diagnostics)
    for name, field in fields.items():
        if field.required and field.name not in values:
            diagnostics.error(name, "missing-field", f"the query parameter `{name}` is required")
    if diagnostics.has_errors:
        raise InvalidInput("Invalid query parameters.", diagnostics.by_path)
    return query_type(**values)


def reject_query(request: Request) -> None:
    """Check that there are no query parameters. Raises InvalidInput."""
    decode_query(_EmptyQuery, request)


class _EmptyQuery(msgspec.Struct):
    pass


def _decode_text(hint: Any, name: str, text: str, diagnostics: Diagnostics) -> Any:
    if _CONTROL_CHARACTER.search(text):
        diagnostics.error(name, "invalid-value", "control characters are not allowed")
        return None
    try:
        return msgspec.convert(text, hint, strict=False, dec_hook=clock.decode_hook)
    except msgspec.ValidationError as error:
        message = str(error)
        diagnostics.error(name, "invalid-value", message[:1].lower() + message[1:])
        return None


async def read_body(request: Request, max_bytes: int) -> bytes:
    """Read the body. Raises InputTooLarge at the first byte too many, and BadRequest after BODY_TIMEOUT_SECONDS."""
    chunks, size = [], 0
    try:
        async with asyncio.timeout(BODY_TIMEOUT_SECONDS):
            async for chunk in request.stream():
                size += len(chunk)
                if size > max_bytes:
                    raise InputTooLarge(f"The body has more than {max_bytes} bytes.")
                chunks.append(chunk)
    except TimeoutError:
        raise BadRequest(f"The body was not received within {BODY_TIMEOUT_SECONDS:.0f} seconds.") from None
    return b"".join(chunks)


def require_content_type(headers: Mapping[str, str], content_type: str) -> None:
    """Check the header Content-Type. Raises UnsupportedMediaType."""
    given = headers.get("content-type", "").partition(";")[0].strip().lower()
    if given != content_type:
        raise UnsupportedMediaType(f"The header Content-Type has to be {content_type}.")


def decode_json_body(hint: Any, raw: bytes) -> Any:
    """Decode a JSON body. Raises BadRequest if it is not JSON, InvalidInput for invalid fields."""
    try:
        value = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadRequest(f"The body is not valid JSON: {error}") from None
    except RecursionError:
        raise BadRequest("The body is nested too deeply.") from None
    diagnostics = Diagnostics()
    _check_strings(value, "", diagnostics, MAX_BODY_DEPTH)
    decoded = decoding.INVALID if diagnostics.has_errors else decoding.decode(hint, value, "", diagnostics)
    if diagnostics.has_errors:
        raise InvalidInput("Some fields are invalid.", diagnostics.by_path)
    return decoded


def _check_strings(value: Any, path: str, diagnostics: Diagnostics, levels_left: int) -> None:
    """Reject NUL characters, which PostgreSQL cannot store and SQLite would, and too many levels."""
    if levels_left == 0:
        diagnostics.error(path, "too-deep", f"there are more than {MAX_BODY_DEPTH} levels")
    elif isinstance(value, str) and "\0" in value:
        diagnostics.error(path, "invalid-value", "the character NUL is not allowed")
    elif isinstance(value, dict):
        for name, inner in value.items():
            _check_strings(name, path, diagnostics, levels_left)
            _check_strings(inner, f"{path}.{truncate(name)}" if path else truncate(name), diagnostics, levels_left - 1)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            _check_strings(inner, f"{path}[{index}]", diagnostics, levels_left - 1)


def parse_if_match(headers: Sequence[str]) -> int | None:
    """Return the revision in the header If-Match, None without one. Raises BadRequest.

    `*` is rejected: it would overwrite what the client has not seen.
    """
    if not headers:
        return None
    match = _ETAG.fullmatch(headers[0])
    if match is None or len(headers) > 1:
        raise BadRequest('If-Match has to be one ETag as it was received, such as "3".')
    return int(match[1])
