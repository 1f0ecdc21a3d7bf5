"""From JSON values to the document's structs, piece by piece, so that every problem is found and has its path.

msgspec stops at the first error of what it converts and does not name a dictionary's key. So structs, objects and
lists are taken apart here, each by its annotation, and only what is left is converted by msgspec.
"""

from collections.abc import Sequence
from functools import cache
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec

from vocelio.engine.diagnostics import Report, short
from vocelio.engine.templating import template
from vocelio.engine.templating.jsonpath import JsonPath
from vocelio.engine.templating.template import Condition, Template, Value

INVALID: Any = msgspec.UNSET  # no JSON value converts to it

_COMPILED = {Template: "template", Value: "template", Condition: "condition", JsonPath: "json-path"}
_ABSENT = {type(None), msgspec.UnsetType}
_NAMES = {dict: "an object", list: "a list", tuple: "a list"}


def convert(hint: Any, raw: Any, path: str, report: Report) -> Any:
    """The value that the annotation describes, or INVALID with what is wrong in the report."""
    if report.full:
        return INVALID
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _limited(hint, raw, path, report)
    if origin in (Union, UnionType) and _ABSENT.intersection(inner):
        (other,) = (kind for kind in inner if kind not in _ABSENT)
        return None if raw is None and type(None) in inner else convert(other, raw, path, report)
    if origin is dict:
        return _object(inner, raw, path, report)
    if origin in (list, tuple):
        return _list(origin, inner, raw, path, report)
    if origin is Literal:
        return _word(inner, raw, path, report)
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return struct(hint, raw, path, report)
    return _leaf(hint, raw, path, report)


def struct(kind: type[msgspec.Struct], raw: Any, path: str, report: Report) -> Any:
    """A struct, or INVALID."""
    pieces = fields(kind, raw, path, report)
    return INVALID if pieces is INVALID else kind(**pieces)


def fields(kind: type[msgspec.Struct], raw: Any, path: str, report: Report, what: str = "", skip: str = "") -> Any:
    """A struct's fields by name, or INVALID; the field ``skip`` is left to the caller."""
    if not isinstance(raw, dict):
        return _not("an object", path, report)
    known, pieces, valid = hints(kind), dict[str, Any](), True
    for field in declared(kind):
        where = _join(path, field.name)
        if field.name == skip:
            continue
        if field.name in raw:
            pieces[field.name] = convert(known[field.name], raw[field.name], where, report)
            valid = valid and pieces[field.name] is not INVALID
        elif field.required:
            report.error(where, "missing", f"{what or 'this'} needs `{field.name}`")
            valid = False
    for name in raw:
        if name not in known and name != skip and not report.full:
            report.unknown(_join(path, name), "unknown-field", f"there is no field `{short(name)}` here", name, known)
            valid = False
    return {name: value for name, value in pieces.items() if value is not INVALID} if valid or skip else INVALID


@cache
def hints(kind: type[msgspec.Struct]) -> dict[str, Any]:
    """The annotations of a struct's fields."""
    every = get_type_hints(kind, include_extras=True)
    return {field.name: every[field.name] for field in declared(kind)}


@cache
def declared(kind: type[msgspec.Struct]) -> tuple[msgspec.structs.FieldInfo, ...]:
    """A struct's fields. msgspec evaluates the annotations anew whenever it is asked, which takes as long as a node."""
    return msgspec.structs.fields(kind)


def _limited(hint: Any, raw: Any, path: str, report: Report) -> Any:
    """``Annotated``: a container's length is checked here, what is in it one by one; a leaf's limits by msgspec."""
    base, *metas = get_args(hint)
    if get_origin(base) not in (dict, list, tuple):
        return _leaf(hint, raw, path, report)
    for meta in metas:
        if isinstance(raw, dict | list) and isinstance(meta, msgspec.Meta):
            if meta.max_length is not None and len(raw) > meta.max_length:
                report.error(path, "too-many", f"at most {meta.max_length} are possible, not {len(raw)}")
                return INVALID
            if meta.min_length is not None and len(raw) < meta.min_length:
                report.error(path, "too-few", f"at least {meta.min_length} is needed")
                return INVALID
    return convert(base, raw, path, report)


def _object(inner: Sequence[Any], raw: Any, path: str, report: Report) -> Any:
    if not isinstance(raw, dict):
        return _not("an object", path, report)
    made = {}
    for name, value in raw.items():
        where = _join(path, name)
        key = convert(inner[0], name, where, report)
        converted = convert(inner[1], value, where, report)
        if key is not INVALID and converted is not INVALID:
            made[key] = converted
    return made if len(made) == len(raw) else INVALID


def _list(origin: Any, inner: Sequence[Any], raw: Any, path: str, report: Report) -> Any:
    if not isinstance(raw, list):
        return _not("a list", path, report)
    if origin is tuple and inner[-1] is not Ellipsis:
        if len(raw) != len(inner):
            report.error(path, "value", f"a list of {len(inner)} is expected, not of {len(raw)}")
            return INVALID
        kinds = list(inner)
    else:
        kinds = [inner[0]] * len(raw)
    made = [
        convert(kind, value, f"{path}[{place}]", report)
        for place, (kind, value) in enumerate(zip(kinds, raw, strict=True))
    ]
    return INVALID if any(value is INVALID for value in made) else origin(made)


def _word(words: Sequence[Any], raw: Any, path: str, report: Report) -> Any:
    if raw in words and type(raw) in {type(word) for word in words}:
        return raw
    possible = ", ".join(f"`{word}`" for word in words if word != "")
    report.unknown(path, "value", f"`{short(raw)}` is none of {possible}", str(raw), [str(word) for word in words])
    return INVALID


def _leaf(hint: Any, raw: Any, path: str, report: Report) -> Any:
    try:
        return msgspec.convert(raw, hint, dec_hook=template.decode)
    except (msgspec.ValidationError, RecursionError) as error:
        message, _, _ = str(error).partition(" - at `")
        described = next((meta.description for meta in get_args(hint)[1:] if isinstance(meta, msgspec.Meta)), None)
        if described and isinstance(raw, str):
            message = f"`{short(raw)}` is not {described}"
        report.error(path, _COMPILED.get(hint, "value"), message[:1].lower() + message[1:])
        return INVALID


def _not(what: str, path: str, report: Report) -> Any:
    report.error(path, "value", f"{what} is expected")
    return INVALID


def _join(path: str, name: str) -> str:
    return f"{path}.{short(name)}" if path else short(name)
