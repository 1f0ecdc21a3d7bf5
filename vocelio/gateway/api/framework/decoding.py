"""From a request to what a handler is given, by the handler's annotations: every wrong field is found, with its path.

What cannot be, such as a name in the path that no thing can have, is not there: NotFound.
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
from vocelio.gateway.api.framework.operation import ApiResponse, Handler, RequestContext
from vocelio.gateway.errors import BadRequest, ContentTooLarge, NotFound, UnprocessableContent, UnsupportedMediaType

BODY_TIMEOUT_SECONDS = 60.0  # a sound of 30 MB at 4 Mbit/s
MAX_QUERY_LENGTH = 4_096  # characters
MAX_BODY_DEPTH = 50  # levels of a body: departments have five, and a flow is checked on its own
NOT_GIVEN = inspect.Parameter.empty

_ETAG = re.compile(r'(?:W/)?"([1-9][0-9]{0,8})"', re.ASCII)
_CONTROL_CHARACTER = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True)
class HandlerSignature:
    """What a handler wants and gives, by its annotations."""

    handler: Handler

    @cached_property
    def hints(self) -> dict[str, Any]:
        """By name; the context is left out."""
        hints = get_type_hints(self.handler, include_extras=True)
        return {name: hint for name, hint in hints.items() if hint is not RequestContext}

    @property
    def path_params(self) -> dict[str, Any]:
        """The parts of the path."""
        return {name: hint for name, hint in self.hints.items() if name not in ("body", "query", "return")}

    @property
    def query_type(self) -> type[msgspec.Struct] | None:
        """What may stand behind the question mark."""
        return self.hints.get("query")

    @property
    def body_type(self) -> Any:
        """What the body is, None if there is none."""
        return self.hints.get("body")

    @property
    def body_default(self) -> Any:
        """What stands for a body that was left out, or NOT_GIVEN."""
        return inspect.signature(self.handler).parameters["body"].default

    @property
    def response_type(self) -> Any:
        """What it gives, without the Answer around it."""
        found = self.hints["return"]
        return get_args(found)[0] if get_origin(found) is ApiResponse else found


def decode_path_param(hint: Any, text: str) -> Any:
    """A part of the path. Raises NotFound."""
    try:
        if _CONTROL_CHARACTER.search(text):
            raise NotFound
        return msgspec.convert(text, hint, strict=False)
    except msgspec.ValidationError:
        raise NotFound from None


def decode_query(query_type: type[msgspec.Struct], request: HTTPConnection) -> Any:
    """What stands behind the question mark. Raises Invalid."""
    if len(request.url.query) > MAX_QUERY_LENGTH:
        raise UnprocessableContent(f"What stands behind the question mark has more than {MAX_QUERY_LENGTH} characters.")
    report, made = Diagnostics(), dict[str, Any]()
    hints = decoding.field_types(query_type)
    fields = {field.encode_name: field for field in decoding.struct_fields(query_type)}
    given = request.query_params.multi_items()
    for name, text in given:
        if name not in fields:
            report.unknown_word(
                truncate(name), "unknown-field", f"`{truncate(name)}` cannot be asked for", name, fields
            )
        elif fields[name].name in made:
            report.error(name, "repeated", "this can be given only once")
        else:
            made[fields[name].name] = _decode_text(hints[fields[name].name], name, text, report)
    for name, field in fields.items():
        if field.required and field.name not in made:
            report.error(name, "missing-field", f"`{name}` is needed behind the question mark")
    if report.has_errors:
        raise UnprocessableContent("The request asks for what cannot be.", report.by_path)
    return query_type(**made)


def reject_query(request: Request) -> None:
    """Nothing may stand behind the question mark. Raises Invalid."""
    decode_query(_EmptyQuery, request)


class _EmptyQuery(msgspec.Struct):
    pass


def _decode_text(hint: Any, name: str, text: str, diagnostics: Diagnostics) -> Any:
    if _CONTROL_CHARACTER.search(text):
        diagnostics.error(name, "invalid-value", "control characters are not possible")
        return None
    try:
        return msgspec.convert(text, hint, strict=False)
    except msgspec.ValidationError as error:
        message = str(error)
        diagnostics.error(name, "invalid-value", message[:1].lower() + message[1:])
        return None


async def read_body(request: Request, max_bytes: int) -> bytes:
    """The body. Raises TooLarge as soon as it is, whatever the Content-Length says; BadRequest when it takes ages."""
    pieces, size = [], 0
    try:
        async with asyncio.timeout(BODY_TIMEOUT_SECONDS):
            async for piece in request.stream():
                size += len(piece)
                if size > max_bytes:
                    raise ContentTooLarge(f"The body has more than {max_bytes} bytes.")
                pieces.append(piece)
    except TimeoutError:
        raise BadRequest(f"The body has not come within {BODY_TIMEOUT_SECONDS:.0f} seconds.") from None
    return b"".join(pieces)


def require_content_type(headers: Mapping[str, str], content_type: str) -> None:
    """Whether the body is of that type. Raises Unsupported."""
    given = headers.get("content-type", "").partition(";")[0].strip().lower()
    if given != content_type:
        raise UnsupportedMediaType(f"The body is to be {content_type}: say so in the header Content-Type.")


def decode_json_body(hint: Any, raw: bytes) -> Any:
    """The body as its annotation says. Raises BadRequest when it is no JSON, Invalid for what is wrong in it."""
    try:
        value = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadRequest(f"The body is no JSON: {error}") from None
    except RecursionError:
        raise BadRequest("The body is nested too deeply.") from None
    report = Diagnostics()
    _check_strings(value, "", report, MAX_BODY_DEPTH)
    made = decoding.INVALID if report.has_errors else decoding.decode(hint, value, "", report)
    if report.has_errors:
        raise UnprocessableContent("Some fields are wrong.", report.by_path)
    return made


def _check_strings(value: Any, path: str, diagnostics: Diagnostics, levels_left: int) -> None:
    """No text may have a NUL character: PostgreSQL cannot keep it, and SQLite would."""
    if levels_left == 0:
        diagnostics.error(path, "too-deep", f"there are more than {MAX_BODY_DEPTH} levels")
    elif isinstance(value, str) and "\0" in value:
        diagnostics.error(path, "invalid-value", "the character NUL is not possible")
    elif isinstance(value, dict):
        for name, inner in value.items():
            _check_strings(name, path, diagnostics, levels_left)
            _check_strings(inner, f"{path}.{truncate(name)}" if path else truncate(name), diagnostics, levels_left - 1)
    elif isinstance(value, list):
        for place, inner in enumerate(value):
            _check_strings(inner, f"{path}[{place}]", diagnostics, levels_left - 1)


def parse_if_match(headers: Sequence[str]) -> int | None:
    """The revision that the header If-Match names, None without one. Raises BadRequest.

    `*`, whatever there is, is refused: it would overwrite what the client has not seen.
    """
    if not headers:
        return None
    match = _ETAG.fullmatch(headers[0])
    if match is None or len(headers) > 1:
        raise BadRequest('If-Match is one ETag as it was given, such as "3".')
    return int(match[1])
