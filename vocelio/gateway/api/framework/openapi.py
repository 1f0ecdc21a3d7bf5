"""The API's description in OpenAPI 3.1, made from the same table and the same types that serve it.

How an operation can be refused follows from what it is: what needs a key can be a 401, what has a body a 413.
"""

from collections.abc import Iterable, Iterator, Sequence
from importlib.metadata import version
from types import UnionType
from typing import Any, Union, get_args, get_origin

import msgspec

from vocelio.engine import decoding
from vocelio.gateway.api.framework import problem_details
from vocelio.gateway.api.framework.authentication import TENANT
from vocelio.gateway.api.framework.decoding import NOT_GIVEN, Signature
from vocelio.gateway.api.framework.endpoint import REQUEST
from vocelio.gateway.api.framework.operation import Operation
from vocelio.gateway.api.framework.problem_details import ProblemDetails
from vocelio.gateway.errors import Refused
from vocelio.gateway.model.types import END

JSON = "application/json"
REFUSALS = {kind.status: kind for kind in Refused.__subclasses__()}
MEANINGS = {
    200: "It is done, or here it is.",
    201: "It was made.",
    202: "It will be done.",
    204: "It is done.",
    206: "Here is a part of it.",
}

_REF = "#/components/schemas/{name}"
_SUMMARIES = {"routes": "documents"}  # tags, where they are not the module's name
_REQUEST_ID = {"description": "What the log knows the request by.", "schema": {"type": "string"}}
_TENANT = {
    "name": TENANT,
    "in": "header",
    "description": "The tenant whose things are at hand, for platform keys; of a tenant's key it is ignored.",
    "schema": {"type": "string"},
}
_IF_MATCH = {
    "name": "If-Match",
    "in": "header",
    "description": "The ETag of what is to be changed, as it was read. Needed when it is there already.",
    "schema": {"type": "string", "pattern": '^"[1-9][0-9]{0,8}"$'},
}


def describe(operations: Sequence[Operation]) -> bytes:
    """The description, as JSON."""
    schemas = _Schemas(operations)
    paths: dict[str, dict[str, Any]] = {}
    tagged = {row.path for row in operations if row.conditional}
    for row in operations:
        paths.setdefault(row.path, {})[row.method.lower()] = _operation(row, schemas, row.path in tagged)
    document = {
        "openapi": "3.1.0",
        "info": {
            "title": "Vocelio Gateway",
            "version": version("vocelio"),
            "description": "Instants are whole microseconds since 1970, UTC; money is whole micro-USD.",
        },
        "tags": [{"name": name} for name in dict.fromkeys(map(_tag, operations))],
        "paths": paths,
        "components": {
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer", "description": "A key: voc_..."}},
            "headers": {"RequestId": _REQUEST_ID},
            "parameters": {"Tenant": _TENANT, "IfMatch": _IF_MATCH},
            "responses": {kind.__name__: _refusal(kind) for kind in REFUSALS.values()},
            "schemas": schemas.parts,
        },
    }
    return msgspec.json.format(msgspec.json.encode(document), indent=1)


class _Schemas:
    """The schemas of all types of the table, so that each has one name."""

    def __init__(self, operations: Iterable[Operation]) -> None:
        hints = {repr(hint): hint for row in operations for hint in _types(Signature(row.handler))}
        hints[repr(ProblemDetails)] = ProblemDetails
        made, self.parts = msgspec.json.schema_components(hints.values(), ref_template=_REF)
        self._by_hint = dict(zip(hints, map(_tidied, made), strict=True))
        self.parts = {name: _tidied(part) for name, part in self.parts.items()}

    def of(self, hint: Any) -> dict[str, Any]:
        """A type's schema, or a reference to it."""
        schema: dict[str, Any] = self._by_hint[repr(hint)]
        return schema


def _types(signature: Signature) -> Iterator[Any]:
    yield from signature.path.values()
    if signature.query is not None:
        yield from decoding.hints(signature.query).values()
    for hint in (signature.body, *_json_answers(signature)):
        if hint not in (None, bytes):
            yield hint


def _json_answers(signature: Signature) -> list[Any]:
    """What the handler returns to be answered as JSON: at most one type."""
    answers = signature.answers
    kinds = get_args(answers) if get_origin(answers) in (Union, UnionType) else (answers,)
    return [kind for kind in kinds if kind not in (bytes, type(None))]


def _tidied(schema: Any) -> Any:
    """Descriptions on one line; and `$` is the text's end in JSON Schema."""
    match schema:
        case dict():
            return {name: _tidied_part(name, part) for name, part in schema.items()}
        case list() | tuple():
            return [_tidied(part) for part in schema]
    return schema


def _tidied_part(name: str, part: Any) -> Any:
    if isinstance(part, str) and name == "description":
        return " ".join(part.replace("``", "`").split())
    if isinstance(part, str) and name == "pattern":
        return part.replace(END, "$")
    return _tidied(part)


def _operation(row: Operation, schemas: _Schemas, tagged: bool) -> dict[str, Any]:
    signature = Signature(row.handler)
    summary, _, more = (row.handler.__doc__ or "").partition("\n")
    described = {
        "operationId": f"{_tag(row)}.{row.handler.__name__}",
        "tags": [_tag(row)],
        "summary": summary,
        "description": f"{' '.join(more.split())} {_who(row)}".strip(),
        "security": [] if row.permission is None else [{"key": []}],
        "parameters": [*_parameters(row, signature, schemas)],
        "responses": _responses(row, signature, schemas, tagged),
    }
    if signature.body is not None:
        described["requestBody"] = _body(row, signature, schemas)
    return described


def _tag(row: Operation) -> str:
    module = row.handler.__module__.rpartition(".")[2]
    return _SUMMARIES.get(module, module)


def _who(row: Operation) -> str:
    return "Open to everyone." if row.permission is None else f"Needs the permission `{row.permission}`."


def _parameters(row: Operation, signature: Signature, schemas: _Schemas) -> Iterator[dict[str, Any]]:
    for name, hint in signature.path.items():
        yield {"name": name, "in": "path", "required": True, "schema": schemas.of(hint)}
    if signature.query is not None:
        hints = decoding.hints(signature.query)
        for field in msgspec.structs.fields(signature.query):
            schema = dict(schemas.of(hints[field.name]))
            if isinstance(field.default, str | int) and field.default != "":
                schema["default"] = field.default
            yield {"name": field.encode_name, "in": "query", "required": field.required, "schema": schema}
    if row.permission is not None:
        yield {"$ref": "#/components/parameters/Tenant"}
    if row.conditional:
        yield {"$ref": "#/components/parameters/IfMatch"}


def _body(row: Operation, signature: Signature, schemas: _Schemas) -> dict[str, Any]:
    if not row.raw:
        schema = schemas.of(signature.body)
    elif row.raw == JSON:
        schema = {"type": "object", "description": "A flow document, see /v1/flows/schema; a draft may have errors."}
    else:
        schema = {"type": "string", "contentMediaType": row.raw, "description": f"At most {row.limit} bytes."}
    return {"required": signature.body_default is NOT_GIVEN, "content": {row.raw or JSON: {"schema": schema}}}


def _responses(row: Operation, signature: Signature, schemas: _Schemas, tagged: bool) -> dict[str, Any]:
    answers = {str(status): _answer(status, row, signature, schemas, tagged) for status in _statuses(row, signature)}
    refused = (REFUSALS[status].__name__ for status in sorted(_refusals(row, signature)))
    return answers | {
        str(kind.status): {"$ref": f"#/components/responses/{name}"}
        for name in refused
        for kind in REFUSALS.values()
        if kind.__name__ == name
    }


def _statuses(row: Operation, signature: Signature) -> Sequence[int]:
    return row.statuses or ((204,) if signature.answers in (None, type(None)) else (200,))


def _refusals(row: Operation, signature: Signature) -> set[int]:
    statuses = {422, 503}  # every request waits for its place
    if row.method != "GET" or signature.path:  # of a thing that is there: its state may be against it
        statuses.add(409)
    if row.permission is not None:
        statuses |= {400, 401, 403, 404, 429}
    if signature.body is not None:
        statuses |= {400, 413, 415}
    if row.conditional:
        statuses |= {412, 428}
    if row.twilio:
        statuses |= {409, 502}
    return statuses


def _answer(status: int, row: Operation, signature: Signature, schemas: _Schemas, tagged: bool) -> dict[str, Any]:
    headers: dict[str, Any] = {REQUEST: {"$ref": "#/components/headers/RequestId"}}
    if tagged:
        headers["ETag"] = {"description": "The revision, for If-Match.", "schema": {"type": "string"}}
    if status == 201:
        headers["Location"] = {"description": "Where what was made is.", "schema": {"type": "string"}}
    answer: dict[str, Any] = {"description": MEANINGS[status], "headers": headers}
    kinds = _json_answers(signature)
    content: dict[str, Any] = {JSON: {"schema": schemas.of(kinds[0])}} if kinds else {}
    content |= {media: {"schema": {} if "json" in media else {"type": "string"}} for media in row.media}
    return answer | ({"content": content} if content else {})


def _refusal(kind: type[Refused]) -> dict[str, Any]:
    return {
        "description": " ".join((kind.__doc__ or kind.title).split()),
        "headers": {REQUEST: {"$ref": "#/components/headers/RequestId"}},
        "content": {problem_details.MEDIA: {"schema": {"$ref": _REF.format(name=ProblemDetails.__name__)}}},
    }
