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
from vocelio.gateway.api.framework.authentication import TENANT_HEADER
from vocelio.gateway.api.framework.decoding import NOT_GIVEN, HandlerSignature
from vocelio.gateway.api.framework.endpoint import REQUEST_ID_HEADER
from vocelio.gateway.api.framework.operation import Operation
from vocelio.gateway.api.framework.problem_details import ProblemDetails
from vocelio.gateway.errors import ApiError
from vocelio.gateway.model.types import PATTERN_END

JSON = "application/json"
ERRORS_BY_STATUS = {kind.status: kind for kind in ApiError.__subclasses__()}
STATUS_DESCRIPTIONS = {
    200: "It is done, or here it is.",
    201: "It was made.",
    202: "It will be done.",
    204: "It is done.",
    206: "Here is a part of it.",
}

_SCHEMA_REF = "#/components/schemas/{name}"
_TAG_NAMES = {"routes": "documents"}  # tags, where they are not the module's name
_REQUEST_ID_RESPONSE_HEADER = {"description": "What the log knows the request by.", "schema": {"type": "string"}}
_TENANT_PARAMETER = {
    "name": TENANT_HEADER,
    "in": "header",
    "description": "The tenant whose things are at hand, for platform keys; of a tenant's key it is ignored.",
    "schema": {"type": "string"},
}
_IF_MATCH_PARAMETER = {
    "name": "If-Match",
    "in": "header",
    "description": "The ETag of what is to be changed, as it was read. Needed when it is there already.",
    "schema": {"type": "string", "pattern": '^"[1-9][0-9]{0,8}"$'},
}


def build_openapi(operations: Sequence[Operation]) -> bytes:
    """The description, as JSON."""
    schemas = _Schemas(operations)
    paths: dict[str, dict[str, Any]] = {}
    tagged = {row.path for row in operations if row.conditional}
    for row in operations:
        paths.setdefault(row.path, {})[row.method.lower()] = _describe_operation(row, schemas, row.path in tagged)
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
            "headers": {"RequestId": _REQUEST_ID_RESPONSE_HEADER},
            "parameters": {"Tenant": _TENANT_PARAMETER, "IfMatch": _IF_MATCH_PARAMETER},
            "responses": {kind.__name__: _describe_error(kind) for kind in ERRORS_BY_STATUS.values()},
            "schemas": schemas.components,
        },
    }
    return msgspec.json.format(msgspec.json.encode(document), indent=1)


class _Schemas:
    """The schemas of all types of the table, so that each has one name."""

    def __init__(self, operations: Iterable[Operation]) -> None:
        hints = {repr(hint): hint for row in operations for hint in _referenced_types(HandlerSignature(row.handler))}
        hints[repr(ProblemDetails)] = ProblemDetails
        made, self.components = msgspec.json.schema_components(hints.values(), ref_template=_SCHEMA_REF)
        self._by_hint = dict(zip(hints, map(_clean_schema, made), strict=True))
        self.components = {name: _clean_schema(part) for name, part in self.components.items()}

    def get(self, hint: Any) -> dict[str, Any]:
        """A type's schema, or a reference to it."""
        schema: dict[str, Any] = self._by_hint[repr(hint)]
        return schema


def _referenced_types(signature: HandlerSignature) -> Iterator[Any]:
    yield from signature.path_params.values()
    if signature.query_type is not None:
        yield from decoding.field_types(signature.query_type).values()
    for hint in (signature.body_type, *_json_response_types(signature)):
        if hint not in (None, bytes):
            yield hint


def _json_response_types(signature: HandlerSignature) -> list[Any]:
    """What the handler returns to be answered as JSON: at most one type."""
    answers = signature.response_type
    kinds = get_args(answers) if get_origin(answers) in (Union, UnionType) else (answers,)
    return [kind for kind in kinds if kind not in (bytes, type(None))]


def _clean_schema(schema: Any) -> Any:
    """Descriptions on one line; and `$` is the text's end in JSON Schema."""
    match schema:
        case dict():
            return {name: _clean_schema_value(name, part) for name, part in schema.items()}
        case list() | tuple():
            return [_clean_schema(part) for part in schema]
    return schema


def _clean_schema_value(name: str, part: Any) -> Any:
    if isinstance(part, str) and name == "description":
        return " ".join(part.replace("``", "`").split())
    if isinstance(part, str) and name == "pattern":
        return part.replace(PATTERN_END, "$")
    return _clean_schema(part)


def _describe_operation(row: Operation, schemas: _Schemas, has_etag: bool) -> dict[str, Any]:
    signature = HandlerSignature(row.handler)
    summary, _, more = (row.handler.__doc__ or "").partition("\n")
    described = {
        "operationId": f"{_tag(row)}.{row.handler.__name__}",
        "tags": [_tag(row)],
        "summary": summary,
        "description": f"{' '.join(more.split())} {_describe_access(row)}".strip(),
        "security": [] if row.permission is None else [{"key": []}],
        "parameters": [*_describe_parameters(row, signature, schemas)],
        "responses": _describe_responses(row, signature, schemas, has_etag),
    }
    if signature.body_type is not None:
        described["requestBody"] = _describe_request_body(row, signature, schemas)
    return described


def _tag(row: Operation) -> str:
    module = row.handler.__module__.rpartition(".")[2]
    return _TAG_NAMES.get(module, module)


def _describe_access(row: Operation) -> str:
    return "Open to everyone." if row.permission is None else f"Needs the permission `{row.permission}`."


def _describe_parameters(row: Operation, signature: HandlerSignature, schemas: _Schemas) -> Iterator[dict[str, Any]]:
    for name, hint in signature.path_params.items():
        yield {"name": name, "in": "path", "required": True, "schema": schemas.get(hint)}
    if signature.query_type is not None:
        hints = decoding.field_types(signature.query_type)
        for field in msgspec.structs.fields(signature.query_type):
            schema = dict(schemas.get(hints[field.name]))
            if isinstance(field.default, str | int) and field.default != "":
                schema["default"] = field.default
            yield {"name": field.encode_name, "in": "query", "required": field.required, "schema": schema}
    if row.permission is not None:
        yield {"$ref": "#/components/parameters/Tenant"}
    if row.conditional:
        yield {"$ref": "#/components/parameters/IfMatch"}


def _describe_request_body(row: Operation, signature: HandlerSignature, schemas: _Schemas) -> dict[str, Any]:
    if not row.content_type:
        schema = schemas.get(signature.body_type)
    elif row.content_type == JSON:
        schema = {"type": "object", "description": "A flow document, see /v1/flows/schema; a draft may have errors."}
    else:
        schema = {
            "type": "string",
            "contentMediaType": row.content_type,
            "description": f"At most {row.max_body_bytes} bytes.",
        }
    return {"required": signature.body_default is NOT_GIVEN, "content": {row.content_type or JSON: {"schema": schema}}}


def _describe_responses(
    row: Operation, signature: HandlerSignature, schemas: _Schemas, has_etag: bool
) -> dict[str, Any]:
    answers = {
        str(status): _describe_response(status, row, signature, schemas, has_etag)
        for status in _success_statuses(row, signature)
    }
    refused = (ERRORS_BY_STATUS[status].__name__ for status in sorted(_error_statuses(row, signature)))
    return answers | {
        str(kind.status): {"$ref": f"#/components/responses/{name}"}
        for name in refused
        for kind in ERRORS_BY_STATUS.values()
        if kind.__name__ == name
    }


def _success_statuses(row: Operation, signature: HandlerSignature) -> Sequence[int]:
    return row.success_statuses or ((204,) if signature.response_type in (None, type(None)) else (200,))


def _error_statuses(row: Operation, signature: HandlerSignature) -> set[int]:
    statuses = {422, 503}  # every request waits for its place
    if row.method != "GET" or signature.path_params:  # of a thing that is there: its state may be against it
        statuses.add(409)
    if row.permission is not None:
        statuses |= {400, 401, 403, 404, 429}
    if signature.body_type is not None:
        statuses |= {400, 413, 415}
    if row.conditional:
        statuses |= {412, 428}
    if row.calls_twilio:
        statuses |= {409, 502}
    return statuses


def _describe_response(
    status: int, row: Operation, signature: HandlerSignature, schemas: _Schemas, has_etag: bool
) -> dict[str, Any]:
    headers: dict[str, Any] = {REQUEST_ID_HEADER: {"$ref": "#/components/headers/RequestId"}}
    if has_etag:
        headers["ETag"] = {"description": "The revision, for If-Match.", "schema": {"type": "string"}}
    if status == 201:
        headers["Location"] = {"description": "Where what was made is.", "schema": {"type": "string"}}
    answer: dict[str, Any] = {"description": STATUS_DESCRIPTIONS[status], "headers": headers}
    kinds = _json_response_types(signature)
    content: dict[str, Any] = {JSON: {"schema": schemas.get(kinds[0])}} if kinds else {}
    content |= {media: {"schema": {} if "json" in media else {"type": "string"}} for media in row.response_types}
    return answer | ({"content": content} if content else {})


def _describe_error(error_type: type[ApiError]) -> dict[str, Any]:
    return {
        "description": " ".join((error_type.__doc__ or error_type.title).split()),
        "headers": {REQUEST_ID_HEADER: {"$ref": "#/components/headers/RequestId"}},
        "content": {
            problem_details.PROBLEM_MEDIA_TYPE: {"schema": {"$ref": _SCHEMA_REF.format(name=ProblemDetails.__name__)}}
        },
    }
