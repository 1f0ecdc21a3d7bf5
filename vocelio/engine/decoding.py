"""From JSON values to the document's structs, piece by piece, so that every problem is found and has its path.

msgspec stops at the first error of what it converts and does not name a dictionary's key. So structs, objects and
lists are taken apart here, each by its annotation, and only what is left is converted by msgspec.
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

INVALID: Any = msgspec.UNSET  # no JSON value converts to it

_COMPILE_ERROR_CODES = {Template: "template", TemplateValue: "template", Condition: "condition", JsonPath: "json-path"}
_OPTIONAL_TYPES = {type(None), msgspec.UnsetType}
_JSON_TYPE_NAMES = {dict: "an object", list: "a list", tuple: "a list"}


def decode(annotation: Any, raw: Any, path: str, diagnostics: Diagnostics) -> Any:
    """The value that the annotation describes, or INVALID with what is wrong in the report."""
    if diagnostics.is_full:
        return INVALID
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _decode_annotated(annotation, raw, path, diagnostics)
    if origin in (Union, UnionType) and _OPTIONAL_TYPES.intersection(inner):
        (other,) = (kind for kind in inner if kind not in _OPTIONAL_TYPES)
        return None if raw is None and type(None) in inner else decode(other, raw, path, diagnostics)
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
    """A struct, or INVALID."""
    pieces = decode_fields(struct_type, raw, path, diagnostics)
    return INVALID if pieces is INVALID else struct_type(**pieces)


def decode_fields(
    struct_type: type[msgspec.Struct],
    raw: Any,
    path: str,
    diagnostics: Diagnostics,
    subject: str = "",
    skipped_field: str = "",
) -> Any:
    """A struct's fields by name, or INVALID; the field ``skip`` is left to the caller."""
    if not isinstance(raw, dict):
        return _report_wrong_type("an object", path, diagnostics)
    known, pieces, valid = field_types(struct_type), dict[str, Any](), True
    for field in struct_fields(struct_type):
        where = _join_path(path, field.name)
        if field.name == skipped_field:
            continue
        if field.name in raw:
            pieces[field.name] = decode(known[field.name], raw[field.name], where, diagnostics)
            valid = valid and pieces[field.name] is not INVALID
        elif field.required:
            diagnostics.error(where, "missing-field", f"{subject or 'this'} needs `{field.name}`")
            valid = False
    for name in raw:
        if name not in known and name != skipped_field and not diagnostics.is_full:
            diagnostics.unknown_word(
                _join_path(path, name), "unknown-field", f"there is no field `{truncate(name)}` here", name, known
            )
            valid = False
    return (
        {name: value for name, value in pieces.items() if value is not INVALID} if valid or skipped_field else INVALID
    )


@cache
def field_types(struct_type: type[msgspec.Struct]) -> dict[str, Any]:
    """The annotations of a struct's fields."""
    every = get_type_hints(struct_type, include_extras=True)
    return {field.name: every[field.name] for field in struct_fields(struct_type)}


@cache
def struct_fields(struct_type: type[msgspec.Struct]) -> tuple[msgspec.structs.FieldInfo, ...]:
    """A struct's fields. msgspec evaluates the annotations anew whenever it is asked, which takes as long as a node."""
    return msgspec.structs.fields(struct_type)


def _decode_annotated(annotation: Any, raw: Any, path: str, diagnostics: Diagnostics) -> Any:
    """``Annotated``: a container's length is checked here, what is in it one by one; a leaf's limits by msgspec."""
    base, *metas = get_args(annotation)
    if get_origin(base) not in (dict, list, tuple):
        return _decode_leaf(annotation, raw, path, diagnostics)
    for meta in metas:
        if isinstance(raw, dict | list) and isinstance(meta, msgspec.Meta):
            if meta.max_length is not None and len(raw) > meta.max_length:
                diagnostics.error(path, "too-many", f"at most {meta.max_length} are possible, not {len(raw)}")
                return INVALID
            if meta.min_length is not None and len(raw) < meta.min_length:
                diagnostics.error(path, "too-few", f"at least {meta.min_length} is needed")
                return INVALID
    return decode(base, raw, path, diagnostics)


def _decode_object(type_args: Sequence[Any], raw: Any, path: str, diagnostics: Diagnostics) -> Any:
    if not isinstance(raw, dict):
        return _report_wrong_type("an object", path, diagnostics)
    made = {}
    for name, value in raw.items():
        where = _join_path(path, name)
        key = decode(type_args[0], name, where, diagnostics)
        converted = decode(type_args[1], value, where, diagnostics)
        if key is not INVALID and converted is not INVALID:
            made[key] = converted
    return made if len(made) == len(raw) else INVALID


def _decode_list(origin: Any, type_args: Sequence[Any], raw: Any, path: str, diagnostics: Diagnostics) -> Any:
    if not isinstance(raw, list):
        return _report_wrong_type("a list", path, diagnostics)
    if origin is tuple and type_args[-1] is not Ellipsis:
        if len(raw) != len(type_args):
            diagnostics.error(path, "invalid-value", f"a list of {len(type_args)} is expected, not of {len(raw)}")
            return INVALID
        kinds = list(type_args)
    else:
        kinds = [type_args[0]] * len(raw)
    made = [
        decode(kind, value, f"{path}[{place}]", diagnostics)
        for place, (kind, value) in enumerate(zip(kinds, raw, strict=True))
    ]
    return INVALID if any(value is INVALID for value in made) else origin(made)


def _decode_literal(literals: Sequence[Any], raw: Any, path: str, diagnostics: Diagnostics) -> Any:
    if raw in literals and type(raw) in {type(word) for word in literals}:
        return raw
    possible = ", ".join(f"`{word}`" for word in literals if word != "")
    diagnostics.unknown_word(
        path, "invalid-value", f"`{truncate(raw)}` is none of {possible}", str(raw), [str(word) for word in literals]
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
    diagnostics.error(path, "invalid-value", f"{expected} is expected")
    return INVALID


def _join_path(path: str, name: str) -> str:
    return f"{path}.{truncate(name)}" if path else truncate(name)
