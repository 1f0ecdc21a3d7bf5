"""The JSON Schema of a flow document, made from the structs that parse it: what an editor needs to help.

It says what the structs say. What only a whole flow can show, such as an exit that leads nowhere, is for the
checks.
"""

from typing import Any

import msgspec

from vocelio.engine.flow import Flow
from vocelio.engine.node import Node
from vocelio.engine.nodes import NODE_TYPES
from vocelio.engine.templating.jsonpath import JsonPath
from vocelio.engine.templating.template import Condition, Template, TemplateValue

SCHEMA_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_REF_TEMPLATE = "#/$defs/{name}"


def flow_schema() -> dict[str, Any]:
    """The schema, JSON Schema 2020-12."""
    kinds = [kind for _, kind in sorted(NODE_TYPES.items())]
    (flow, *nodes), parts = msgspec.json.schema_components(
        [Flow, *kinds], schema_hook=_schema_hook, ref_template=_REF_TEMPLATE
    )
    for kind, node in zip(kinds, nodes, strict=True):
        _add_type_property(parts[node["$ref"].rsplit("/", 1)[1]], kind)
    parts["Node"] = {"oneOf": nodes, "discriminator": {"propertyName": "type"}}
    parts["Flow"]["properties"]["$schema"] = {"type": "string"}
    for part in parts.values():
        part["description"] = " ".join(part.get("description", "").split())
    schema = {"$schema": SCHEMA_DIALECT, "title": "A Vocelio flow", **flow, "$defs": parts}
    plain: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(schema))  # tuples are lists in JSON
    return plain


def schema_json() -> bytes:
    """The schema as a file for editors."""
    return msgspec.json.format(msgspec.json.encode(flow_schema()), indent=2) + b"\n"


def _add_type_property(schema: dict[str, Any], kind: type[Node]) -> None:
    """``type`` is no field of the structs: it says which struct it is."""
    schema["properties"] = {"type": {"const": kind.type}, **schema["properties"]}
    schema["required"] = ["type", *schema.get("required", [])]
    schema["title"] = kind.type
    exits = schema["properties"]["exits"]
    if kind.possible_exits is Node.possible_exits and kind.exit_names:
        exits["propertyNames"] = {"enum": list(kind.exit_names)}


def _schema_hook(kind: type) -> dict[str, Any]:
    if kind is Template:
        return {"type": "string", "description": "a text in Liquid"}
    if kind is Condition:
        return {"type": "string", "description": "a condition in Liquid, such as `tries > 2`"}
    if kind is JsonPath:
        return {"type": "string", "description": "a way into a JSON reply, such as `customer.orders[0].total`"}
    if kind is TemplateValue:
        return {"description": "any value; texts in it are Liquid"}
    raise NotImplementedError(kind)
