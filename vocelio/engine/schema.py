"""JSON Schema of a flow document for editors, generated from the structs that decode it.

Rules that need the whole flow, such as an exit to a missing node, are not in the schema; validation checks them.
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
    """Build the schema (JSON Schema 2020-12)."""
    node_types = [node_type for _, node_type in sorted(NODE_TYPES.items())]
    (flow, *nodes), definitions = msgspec.json.schema_components(
        [Flow, *node_types], schema_hook=_schema_hook, ref_template=_REF_TEMPLATE
    )
    for node_type, node in zip(node_types, nodes, strict=True):
        _add_type_property(definitions[node["$ref"].rsplit("/", 1)[1]], node_type)
    definitions["Node"] = {"oneOf": nodes, "discriminator": {"propertyName": "type"}}
    definitions["Flow"]["properties"]["$schema"] = {"type": "string"}
    for definition in definitions.values():
        definition["description"] = " ".join(definition.get("description", "").split())
    schema = {"$schema": SCHEMA_DIALECT, "title": "A Vocelio flow", **flow, "$defs": definitions}
    plain: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(schema))  # tuples are lists in JSON
    return plain


def schema_json() -> bytes:
    """Encode the schema as a file for editors."""
    return msgspec.json.format(msgspec.json.encode(flow_schema()), indent=2) + b"\n"


def _add_type_property(schema: dict[str, Any], node_type: type[Node]) -> None:
    """Add ``type``, which selects the struct and is not one of its fields."""
    schema["properties"] = {"type": {"const": node_type.type}, **schema["properties"]}
    schema["required"] = ["type", *schema.get("required", [])]
    schema["title"] = node_type.type
    exits = schema["properties"]["exits"]
    if node_type.possible_exits is Node.possible_exits and node_type.exit_names:
        exits["propertyNames"] = {"enum": list(node_type.exit_names)}


def _schema_hook(kind: type) -> dict[str, Any]:
    if kind is Template:
        return {"type": "string", "description": "a Liquid template"}
    if kind is Condition:
        return {"type": "string", "description": "a Liquid condition, such as `tries > 2`"}
    if kind is JsonPath:
        return {"type": "string", "description": "a path into a JSON response, such as `customer.orders[0].total`"}
    if kind is TemplateValue:
        return {"description": "any JSON value; texts in it are Liquid templates"}
    raise NotImplementedError(kind)
