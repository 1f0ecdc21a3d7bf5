"""Strict decoding of JSON values into structs that reports every error with its path.

msgspec stops at the first error and does not name a dictionary's key. So this module walks structs, objects and lists
itself, by their annotations, and leaves only scalar values to msgspec.
"""

from collections.abc import Sequence
from functools import cache
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec

from vocelio.engine.diagnostics import Diagnostics, truncate
from vocelio.engine.templating import template
from vocelio.engine.templating.jsonpath import JsonPath
from vocelio.engine.templating.template import Condition, Template, TemplateValue

INVALID: Any = msgspec.UNSET  # no JSON value decodes to it

_COMPILE_ERROR_CODES = {Template: "template", TemplateValue: "template", Condition: "condition", JsonPath: "json-path"}
_OPTIONAL_TYPES = {type(None), msgspec.UnsetType}
_JSON_TYPE_NAMES = {dict: "an object", list: "a list", tuple: "a list"}


def decode(annotation: Any, raw: Any, path: str, diagnostics: Diagnostics) -> Any:
    """Decode a value of the annotated type. Returns INVALID and adds to ``diagnostics`` if it is not one."""
    if diagnostics.is_full:
        return INVALID
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _decode_annotated(annotation, raw, path, diagnostics)
    if origin in (Union, UnionType) and _OPTIONAL_TYPES.intersection(inner):
        (value_type,) = (arg for arg in inner if arg not in _OPTIONAL_TYPES)
        return None if raw is None and type(None) in inner else decode(value_type, raw, path, diagnostics)
    if origin is dict:
        return _decode_object(inner, raw, path, diagnostics)
    if origin in (list, tuple):
        return _decode_list(origin, inner, raw, path, diagnostics)
    if origin is Literal:
        return _decode_literal(inner, raw, path, diagnostics)
    if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct):
        return decode_struct(annotation, raw, path, diagnostics)
    return _decode_leaf(annotation, raw, path, diagnostics)


def decode_struct(struct_type: type[msgspec.Struct], raw: Any, path: str, diagnostics: Diagnostics) -> Any:
    """Decode a struct; INVALID if it has errors."""
    fields = decode_fields(struct_type, raw, path, diagnostics)
    return INVALID if fields is INVALID else struct_type(**fields)


def decode_fields(
    struct_type: type[msgspec.Struct],
    raw: Any,
    path: str,
    diagnostics: Diagnostics,
    subject: str = "",
    skipped_field: str = "",
) -> Any:
    """Decode a struct's fields into a dictionary; INVALID if there are errors.

    ``subject`` names the struct in messages. ``skipped_field`` is left to the caller; the other fields are then
    returned even if there are errors.
    """
    if not isinstance(raw, dict):
        return _report_wrong_type("an object", path, diagnostics)
    types, decoded, valid = field_types(struct_type), dict[str, Any](), True
    for field in struct_fields(struct_type):
        field_path = _join_path(path, field.name)
        if field.name == skipped_field:
            continue
        if field.name in raw:
            decoded[field.name] = decode(types[field.name], raw[field.name], field_path, diagnostics)
            valid = valid and decoded[field.name] is not INVALID
        elif field.required:
            diagnostics.error(field_path, "missing-field", f"{subject or 'this'} needs `{field.name}`")
            valid = False
    for name in raw:
        if name not in types and name != skipped_field and not diagnostics.is_full:
            diagnostics.unknown_word(
                _join_path(path, name), "unknown-field", f"there is no field `{truncate(name)}` here", name, types
            )
            valid = False
    return (
        {name: value for name, value in decoded.items() if value is not INVALID} if valid or skipped_field else INVALID
    )


@cache
def field_types(struct_type: type[msgspec.Struct]) -> dict[str, Any]:
    """The annotations of a struct's fields, by name."""
    hints = get_type_hints(struct_type, include_extras=True)
    return {field.name: hints[field.name] for field in struct_fields(struct_type)}


@cache
def struct_fields(struct_type: type[msgspec.Struct]) -> tuple[msgspec.structs.FieldInfo, ...]:
    """A struct's fields, cached: msgspec evaluates the annotations on each call, as costly as decoding a node."""
    return msgspec.structs.fields(struct_type)


def _decode_annotated(annotation: Any, raw: Any, path: str, diagnostics: Diagnostics) -> Any:
    """Check the length of an annotated container and decode its items; msgspec checks the limits of a scalar."""
    base, *metas = get_args(annotation)
    if get_origin(base) not in (dict, list, tuple):
        return _decode_leaf(annotation, raw, path, diagnostics)
    for meta in metas:
        if isinstance(raw, dict | list) and isinstance(meta, msgspec.Meta):
            if meta.max_length is not None and len(raw) > meta.max_length:
                diagnostics.error(path, "too-many", f"at most {meta.max_length} are allowed, not {len(raw)}")
                return INVALID
            if meta.min_length is not None and len(raw) < meta.min_length:
                diagnostics.error(path, "too-few", f"at least {meta.min_length} is needed")
                return INVALID
    return decode(base, raw, path, diagnostics)


def _decode_object(type_args: Sequence[Any], raw: Any, path: str, diagnostics: Diagnostics) -> Any:
    if not isinstance(raw, dict):
        return _report_wrong_type("an object", path, diagnostics)
    items = {}
    for name, value in raw.items():
        item_path = _join_path(path, name)
        key = decode(type_args[0], name, item_path, diagnostics)
        item = decode(type_args[1], value, item_path, diagnostics)
        if key is not INVALID and item is not INVALID:
            items[key] = item
    return items if len(items) == len(raw) else INVALID


def _decode_list(origin: Any, type_args: Sequence[Any], raw: Any, path: str, diagnostics: Diagnostics) -> Any:
    if not isinstance(raw, list):
        return _report_wrong_type("a list", path, diagnostics)
    if origin is tuple and type_args[-1] is not Ellipsis:
        if len(raw) != len(type_args):
            diagnostics.error(path, "invalid-value", f"expected a list of {len(type_args)}, not of {len(raw)}")
            return INVALID
        item_types = list(type_args)
    else:
        item_types = [type_args[0]] * len(raw)
    items = [
        decode(item_type, value, f"{path}[{index}]", diagnostics)
        for index, (item_type, value) in enumerate(zip(item_types, raw, strict=True))
    ]
    return INVALID if any(item is INVALID for item in items) else origin(items)


def _decode_literal(literals: Sequence[Any], raw: Any, path: str, diagnostics: Diagnostics) -> Any:
    if raw in literals and type(raw) in {type(word) for word in literals}:
        return raw
    possible = ", ".join(f"`{word}`" for word in literals if word != "")
    diagnostics.unknown_word(
        path, "invalid-value", f"`{truncate(raw)}` is not one of {possible}", str(raw), [str(word) for word in literals]
    )
    return INVALID


def _decode_leaf(annotation: Any, raw: Any, path: str, diagnostics: Diagnostics) -> Any:
    try:
        return msgspec.convert(raw, annotation, dec_hook=template.decode_hook)
    except (msgspec.ValidationError, RecursionError) as error:
        message, _, _ = str(error).partition(" - at `")
        described = next(
            (meta.description for meta in get_args(annotation)[1:] if isinstance(meta, msgspec.Meta)), None
        )
        if described and isinstance(raw, str):
            message = f"`{truncate(raw)}` is not {described}"
        diagnostics.error(
            path, _COMPILE_ERROR_CODES.get(annotation, "invalid-value"), message[:1].lower() + message[1:]
        )
        return INVALID


def _report_wrong_type(expected: str, path: str, diagnostics: Diagnostics) -> Any:
    diagnostics.error(path, "invalid-value", f"expected {expected}")
    return INVALID


def _join_path(path: str, name: str) -> str:
    return f"{path}.{truncate(name)}" if path else truncate(name)
