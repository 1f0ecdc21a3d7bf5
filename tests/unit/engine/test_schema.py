"""The JSON Schema: accepts valid flows, rejects structural errors, and contains every node type."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from vocelio.engine.nodes import NODE_TYPES
from vocelio.engine.schema import SCHEMA_DIALECT, flow_schema
from vocelio.engine.validation.loader import validate_flow

ROOT = Path(__file__).parents[3]
EXAMPLES = sorted(path for path in (ROOT / "examples").rglob("*.json") if path.name != "site.json")
SCHEMA = flow_schema()
PYTHON_TYPES = {
    "object": dict,
    "array": list,
    "string": str,
    "integer": int,
    "number": int | float,
    "boolean": bool,
    "null": type(None),
}
USED_KEYWORDS = {
    "$ref",
    "$schema",
    "$defs",
    "type",
    "enum",
    "const",
    "properties",
    "required",
    "additionalProperties",
    "propertyNames",
    "maxProperties",
    "minProperties",
    "items",
    "prefixItems",
    "minItems",
    "maxItems",
    "minLength",
    "maxLength",
    "pattern",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "anyOf",
    "oneOf",
    "title",
    "description",
    "default",
    "discriminator",
}
KEYWORD_CHECKS = {
    "minimum": lambda v, limit: v >= limit,
    "maximum": lambda v, limit: v <= limit,
    "exclusiveMinimum": lambda v, limit: v > limit,
    "minLength": lambda v, limit: len(v) >= limit,
    "maxLength": lambda v, limit: len(v) <= limit,
    "minItems": lambda v, limit: len(v) >= limit,
    "maxItems": lambda v, limit: len(v) <= limit,
    "minProperties": lambda v, limit: len(v) >= limit,
    "maxProperties": lambda v, limit: len(v) <= limit,
    "pattern": lambda v, pattern: re.search(pattern, v) is not None,
    "const": lambda v, constant: v == constant,
    "enum": lambda v, words: v in words,
}


def is_valid(value: Any, schema: Any) -> bool:
    """Validate against the subset of JSON Schema that our schema uses."""
    if isinstance(schema, bool):
        return schema
    assert set(schema) <= USED_KEYWORDS, f"unsupported keywords: {set(schema) - USED_KEYWORDS}"
    if "$ref" in schema and not is_valid(value, SCHEMA["$defs"][schema["$ref"].rsplit("/", 1)[1]]):
        return False
    if "type" in schema and (
        not isinstance(value, PYTHON_TYPES[schema["type"]]) or (isinstance(value, bool) and schema["type"] != "boolean")
    ):
        return False
    if not all(test(value, schema[name]) for name, test in KEYWORD_CHECKS.items() if name in schema):
        return False
    if "anyOf" in schema and not any(is_valid(value, option) for option in schema["anyOf"]):
        return False
    if "oneOf" in schema and sum(is_valid(value, option) for option in schema["oneOf"]) != 1:
        return False
    return _is_valid_object(value, schema) if isinstance(value, dict) else _is_valid_array(value, schema)


def _is_valid_object(value: dict[str, Any], schema: dict[str, Any]) -> bool:
    properties = schema.get("properties", {})
    return (
        all(name in value for name in schema.get("required", ()))
        and all(is_valid(name, schema.get("propertyNames", True)) for name in value)
        and all(
            is_valid(part, properties[name] if name in properties else schema.get("additionalProperties", True))
            for name, part in value.items()
        )
    )


def _is_valid_array(value: Any, schema: dict[str, Any]) -> bool:
    if not isinstance(value, list):
        return True
    first = schema.get("prefixItems", [])
    rest = schema.get("items", True)
    return all(is_valid(part, first[n] if n < len(first) else rest) for n, part in enumerate(value))


def test_schema_has_every_node_type() -> None:
    assert SCHEMA["$schema"] == SCHEMA_DIALECT
    definitions = [ref["$ref"].rsplit("/", 1)[1] for ref in SCHEMA["$defs"]["Node"]["oneOf"]]
    assert sorted(SCHEMA["$defs"][name]["properties"]["type"]["const"] for name in definitions) == sorted(NODE_TYPES)


def test_schema_is_json() -> None:
    assert json.loads(json.dumps(SCHEMA)) == SCHEMA


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_every_example_is_valid(path: Path) -> None:
    assert is_valid(json.loads(path.read_bytes()), SCHEMA)


STRUCTURAL_CODES = (
    "unknown-field",
    "missing-field",
    "node-type",
    "invalid-value",
    "too-many",
    "too-few",
    "no-such-exit",
)
INVALID_FLOWS = sorted((ROOT / "tests" / "data" / "flows").glob("*.json"))


@pytest.mark.parametrize("path", INVALID_FLOWS, ids=lambda path: path.stem)
def test_structural_errors_violate_the_schema(path: Path) -> None:
    """Flows that pass the schema have only errors that a schema cannot express."""
    document = path.read_bytes()
    _, diagnostics = validate_flow(document)
    codes = {diagnostic.code for diagnostic in diagnostics}
    if "invalid-json" not in codes:
        passes = is_valid(json.loads(document), SCHEMA)
        assert not (codes & {"unknown-field", "missing-field", "node-type", "invalid-value", "too-few"} and passes)
        assert passes or codes & set(STRUCTURAL_CODES)
