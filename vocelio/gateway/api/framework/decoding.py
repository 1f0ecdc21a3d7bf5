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
from vocelio.engine.diagnostics import Report, short
from vocelio.gateway.api.framework.operation import Answer, Context, Handler
from vocelio.gateway.errors import BadRequest, Invalid, NotFound, TooLarge, Unsupported

BODY_SECONDS = 60.0  # a sound of 30 MB at 4 Mbit/s
LONGEST_QUERY = 4_096  # characters
DEEPEST = 50  # levels of a body: departments have five, and a flow is checked on its own
NOT_GIVEN = inspect.Parameter.empty

_ETAG = re.compile(r'(?:W/)?"([1-9][0-9]{0,8})"', re.ASCII)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True)
class Signature:
    """What a handler wants and gives, by its annotations."""

    handler: Handler

    @cached_property
    def hints(self) -> dict[str, Any]:
        """By name; the context is left out."""
        hints = get_type_hints(self.handler, include_extras=True)
        return {name: hint for name, hint in hints.items() if hint is not Context}

    @property
    def path(self) -> dict[str, Any]:
        """The parts of the path."""
        return {name: hint for name, hint in self.hints.items() if name not in ("body", "query", "return")}

    @property
    def query(self) -> type[msgspec.Struct] | None:
        """What may stand behind the question mark."""
        return self.hints.get("query")

    @property
    def body(self) -> Any:
        """What the body is, None if there is none."""
        return self.hints.get("body")

    @property
    def body_default(self) -> Any:
        """What stands for a body that was left out, or NOT_GIVEN."""
        return inspect.signature(self.handler).parameters["body"].default

    @property
    def answers(self) -> Any:
        """What it gives, without the Answer around it."""
        found = self.hints["return"]
        return get_args(found)[0] if get_origin(found) is Answer else found


def path_part(hint: Any, text: str) -> Any:
    """A part of the path. Raises NotFound."""
    try:
        if _CONTROL.search(text):
            raise NotFound
        return msgspec.convert(text, hint, strict=False)
    except msgspec.ValidationError:
        raise NotFound from None


def query(kind: type[msgspec.Struct], request: HTTPConnection) -> Any:
    """What stands behind the question mark. Raises Invalid."""
    if len(request.url.query) > LONGEST_QUERY:
        raise Invalid(f"What stands behind the question mark has more than {LONGEST_QUERY} characters.")
    report, made = Report(), dict[str, Any]()
    hints = decoding.hints(kind)
    fields = {field.encode_name: field for field in decoding.declared(kind)}
    given = request.query_params.multi_items()
    for name, text in given:
        if name not in fields:
            report.unknown(short(name), "unknown-field", f"`{short(name)}` cannot be asked for", name, fields)
        elif fields[name].name in made:
            report.error(name, "repeated", "this can be given only once")
        else:
            made[fields[name].name] = _from_text(hints[fields[name].name], name, text, report)
    for name, field in fields.items():
        if field.required and field.name not in made:
            report.error(name, "missing", f"`{name}` is needed behind the question mark")
    if report.failed:
        raise Invalid("The request asks for what cannot be.", report.problems)
    return kind(**made)


def no_query(request: Request) -> None:
    """Nothing may stand behind the question mark. Raises Invalid."""
    query(_Nothing, request)


class _Nothing(msgspec.Struct):
    pass


def _from_text(hint: Any, name: str, text: str, report: Report) -> Any:
    if _CONTROL.search(text):
        report.error(name, "value", "control characters are not possible")
        return None
    try:
        return msgspec.convert(text, hint, strict=False)
    except msgspec.ValidationError as error:
        message = str(error)
        report.error(name, "value", message[:1].lower() + message[1:])
        return None


async def raw_body(request: Request, limit: int) -> bytes:
    """The body. Raises TooLarge as soon as it is, whatever the Content-Length says; BadRequest when it takes ages."""
    pieces, size = [], 0
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for piece in request.stream():
                size += len(piece)
                if size > limit:
                    raise TooLarge(f"The body has more than {limit} bytes.")
                pieces.append(piece)
    except TimeoutError:
        raise BadRequest(f"The body has not come within {BODY_SECONDS:.0f} seconds.") from None
    return b"".join(pieces)


def check_media(headers: Mapping[str, str], media: str) -> None:
    """Whether the body is of that type. Raises Unsupported."""
    given = headers.get("content-type", "").partition(";")[0].strip().lower()
    if given != media:
        raise Unsupported(f"The body is to be {media}: say so in the header Content-Type.")


def json_body(hint: Any, raw: bytes) -> Any:
    """The body as its annotation says. Raises BadRequest when it is no JSON, Invalid for what is wrong in it."""
    try:
        value = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadRequest(f"The body is no JSON: {error}") from None
    except RecursionError:
        raise BadRequest("The body is nested too deeply.") from None
    report = Report()
    _check_texts(value, "", report, DEEPEST)
    made = decoding.INVALID if report.failed else decoding.convert(hint, value, "", report)
    if report.failed:
        raise Invalid("Some fields are wrong.", report.problems)
    return made


def _check_texts(value: Any, path: str, report: Report, deeper: int) -> None:
    """No text may have a NUL character: PostgreSQL cannot keep it, and SQLite would."""
    if deeper == 0:
        report.error(path, "too-deep", f"there are more than {DEEPEST} levels")
    elif isinstance(value, str) and "\0" in value:
        report.error(path, "value", "the character NUL is not possible")
    elif isinstance(value, dict):
        for name, inner in value.items():
            _check_texts(name, path, report, deeper)
            _check_texts(inner, f"{path}.{short(name)}" if path else short(name), report, deeper - 1)
    elif isinstance(value, list):
        for place, inner in enumerate(value):
            _check_texts(inner, f"{path}[{place}]", report, deeper - 1)


def if_match(values: Sequence[str]) -> int | None:
    """The revision that the header If-Match names, None without one. Raises BadRequest.

    `*`, whatever there is, is refused: it would overwrite what the client has not seen.
    """
    if not values:
        return None
    match = _ETAG.fullmatch(values[0])
    if match is None or len(values) > 1:
        raise BadRequest('If-Match is one ETag as it was given, such as "3".')
    return int(match[1])
