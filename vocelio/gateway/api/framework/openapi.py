"""OpenAPI 3.1 document of the API, generated from the table of operations and the types of their handlers.

Error responses follow from an operation's properties: one that needs a key can answer 401, one with a body 413.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from importlib.metadata import version
from types import UnionType
from typing import Any, Union, get_args, get_origin

import msgspec

from vocelio.engine import decoding
from vocelio.gateway import clock
from vocelio.gateway.api.framework import problem_details
from vocelio.gateway.api.framework.authentication import TENANT_HEADER
from vocelio.gateway.api.framework.decoding import NOT_GIVEN, HandlerSignature
from vocelio.gateway.api.framework.endpoint import REQUEST_ID_HEADER
from vocelio.gateway.api.framework.operation import Operation
from vocelio.gateway.api.framework.problem_details import REASON_PHRASES, ProblemDetails
from vocelio.gateway.model.types import PATTERN_END

JSON = "application/json"
SUCCESS_DESCRIPTIONS = {
    200: "Success.",
    201: "Created.",
    202: "Accepted; it is carried out in the background.",
    204: "Success, without content.",
    206: "Partial content.",
}
ERROR_DESCRIPTIONS = {
    400: "The request is malformed.",
    401: "There is no valid API key or ticket.",
    403: "The key's role does not allow the operation.",
    404: "The tenant has no such resource.",
    409: "The current state does not allow the operation.",
    412: "The resource has been changed since it was read.",
    413: "The body is too large.",
    415: "The body has another content type than expected.",
    422: "Fields are invalid; `errors` has an entry for each.",
    428: "The resource exists, so If-Match is required.",
    429: "There are too many requests; see Retry-After.",
    502: "Twilio's REST API rejected a request.",
    503: "The database or the storage is unavailable; see Retry-After.",
}

_SCHEMA_REF = "#/components/schemas/{name}"
_TAGS = {"openapi.json": "documents", "keys": "api_keys", "me": "api_keys", "tenant": "tenants"}
_REQUEST_ID_RESPONSE_HEADER = {"description": "Id of the request in the log.", "schema": {"type": "string"}}
_TENANT_PARAMETER = {
    "name": TENANT_HEADER,
    "in": "header",
    "description": "The tenant that a platform key works for. Ignored with a tenant's key.",
    "schema": {"type": "string"},
}
_IF_MATCH_PARAMETER = {
    "name": "If-Match",
    "in": "header",
    "description": "ETag of the resource as it was read. Required if the resource exists.",
    "schema": {"type": "string", "pattern": '^"[1-9][0-9]{0,8}"$'},
}


def build_openapi(operations: Sequence[Operation]) -> bytes:
    """Return the OpenAPI document of the operations, as JSON."""
    schemas = _Schemas(operations)
    paths: dict[str, dict[str, Any]] = {}
    paths_with_etag = {row.path for row in operations if row.conditional}
    for row in operations:
        has_etag = row.path in paths_with_etag
        paths.setdefault(row.path, {})[row.method.lower()] = _describe_operation(row, schemas, has_etag)
    document = {
        "openapi": "3.1.0",
        "info": {
            "title": "Vocelio Gateway",
            "version": version("vocelio"),
            "description": "Instants are RFC 3339 texts in UTC with microseconds; money is whole micro-USD.",
        },
        "tags": [{"name": name} for name in dict.fromkeys(map(_tag, operations))],
        "paths": paths,
        "components": {
            "securitySchemes": {"api_key": {"type": "http", "scheme": "bearer", "description": "An API key: voc_..."}},
            "headers": {"RequestId": _REQUEST_ID_RESPONSE_HEADER},
            "parameters": {"Tenant": _TENANT_PARAMETER, "IfMatch": _IF_MATCH_PARAMETER},
            "responses": {_response_name(status): _describe_error(status) for status in ERROR_DESCRIPTIONS},
            "schemas": schemas.components,
        },
    }
    return msgspec.json.format(msgspec.json.encode(document), indent=1)


class _Schemas:
    """JSON schemas of all types of the operations, with one name for each."""

    def __init__(self, operations: Iterable[Operation]) -> None:
        hints = {repr(hint): hint for row in operations for hint in _referenced_types(HandlerSignature(row.handler))}
        hints[repr(ProblemDetails)] = ProblemDetails
        schemas, components = msgspec.json.schema_components(
            hints.values(), schema_hook=clock.schema_hook, ref_template=_SCHEMA_REF
        )
        self._by_hint = dict(zip(hints, map(_clean_schema, schemas), strict=True))
        self.components = {_component_name(name): _clean_schema(schema) for name, schema in components.items()}

    def get(self, hint: Any) -> dict[str, Any]:
        """Return the schema of a type, or a reference to it."""
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
    """Return the type that the handler returns as JSON, if there is one."""
    hint = signature.response_type
    types = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    return [part for part in types if part not in (bytes, type(None))]


def _clean_schema(schema: Any) -> Any:
    """Adapt msgspec's schemas: descriptions on one line, `$` at the end of patterns, and no `items: false`.

    Client generators do not know the latter; `maxItems` of a tuple says the same.
    """
    match schema:
        case dict():
            return {name: _clean_schema_value(name, part) for name, part in schema.items() if name != "items" or part}
        case list() | tuple():
            return [_clean_schema(part) for part in schema]
    return schema


def _component_name(name: str) -> str:
    """Name the instances of a generic struct as a person would: `FlowSummaryPage` for `Page_FlowSummary_`."""
    return re.sub(r"^([A-Za-z]+)_([A-Za-z]+)_$", r"\2\1", name)


def _clean_schema_value(name: str, part: Any) -> Any:
    if isinstance(part, str) and name == "$ref":
        prefix, _, component = part.rpartition("/")
        return f"{prefix}/{_component_name(component)}"
    if isinstance(part, str) and name == "title":
        return _component_name(re.sub(r"\W", "_", part))
    if isinstance(part, str) and name == "description":
        return " ".join(part.replace("``", "`").split())
    if isinstance(part, str) and name == "pattern":
        return part.replace(PATTERN_END, "$")
    return _clean_schema(part)


def _describe_operation(row: Operation, schemas: _Schemas, has_etag: bool) -> dict[str, Any]:
    signature = HandlerSignature(row.handler)
    summary, _, more = (row.handler.__doc__ or "").partition("\n")
    described = {
        "operationId": row.handler.__name__,
        "tags": [_tag(row)],
        "summary": summary,
        "description": f"{' '.join(more.split())} {_describe_access(row)}".strip(),
        "security": [] if row.permission is None else [{"api_key": []}],
        "parameters": [*_describe_parameters(row, signature, schemas)],
        "responses": _describe_responses(row, signature, schemas, has_etag),
    }
    if signature.body_type is not None:
        described["requestBody"] = _describe_request_body(row, signature, schemas)
    return described


def _tag(row: Operation) -> str:
    """Group operations by the first part of their path."""
    part = row.path.removeprefix("/v1").split("/")[1]
    return _TAGS.get(part, part.replace("-", "_"))


def _describe_access(row: Operation) -> str:
    return "Needs no key." if row.permission is None else f"Needs the permission `{row.permission}`."


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
        schema = {"type": "object", "description": "A flow document, see /v1/flows/schema. A draft may have errors."}
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
    responses = {
        str(status): _describe_response(status, row, signature, schemas, has_etag)
        for status in _success_statuses(row, signature)
    }
    return responses | {
        str(status): {"$ref": f"#/components/responses/{_response_name(status)}"}
        for status in sorted(_error_statuses(row, signature))
    }


def _success_statuses(row: Operation, signature: HandlerSignature) -> Sequence[int]:
    return row.success_statuses or ((204,) if signature.response_type in (None, type(None)) else (200,))


def _error_statuses(row: Operation, signature: HandlerSignature) -> set[int]:
    statuses = {422, 503}  # every request has query parameters to reject, and may find no database connection
    if row.method != "GET" or signature.path_params:  # about a resource, whose state may not allow it
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
        headers["Location"] = {"description": "Path of the created resource.", "schema": {"type": "string"}}
    response: dict[str, Any] = {"description": SUCCESS_DESCRIPTIONS[status], "headers": headers}
    types = _json_response_types(signature)
    content: dict[str, Any] = {JSON: {"schema": schemas.get(types[0])}} if types else {}
    content |= {media: {"schema": {} if "json" in media else {"type": "string"}} for media in row.response_types}
    return response | ({"content": content} if content else {})


def _response_name(status: int) -> str:
    return REASON_PHRASES[status].replace(" ", "")


def _describe_error(status: int) -> dict[str, Any]:
    schema = {"$ref": _SCHEMA_REF.format(name=ProblemDetails.__name__)}
    return {
        "description": ERROR_DESCRIPTIONS[status],
        "headers": {REQUEST_ID_HEADER: {"$ref": "#/components/headers/RequestId"}},
        "content": {problem_details.PROBLEM_MEDIA_TYPE: {"schema": schema}},
    }
