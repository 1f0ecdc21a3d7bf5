"""Checks of the names that templates read and nodes set."""

import re
from collections.abc import Iterator
from typing import Any

import msgspec

from vocelio.engine.diagnostics import Report, short
from vocelio.engine.runtime.template_scope import RESERVED
from vocelio.engine.templating.template import Condition, Template, Value
from vocelio.engine.validation.partial_flow import Draft
from vocelio.engine.variables import MAX_VARIABLES, fitting

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")  # so that templates can name it
MAX_NAME = 64
_LIQUID = ("true", "false", "nil", "null", "empty", "blank", "and", "or", "contains", "not", "in", "forloop")
_PARTS = {"call": ("id", "seconds"), "caller": ("number",)}
_EVERYWHERE = ("call", "caller", "tenant", "number", "now", "today")

Readable = Template | Value | Condition


def check_names(draft: Draft, report: Report) -> None:
    """What is read must be there, and what is set must be nameable."""
    variables = draft.variables
    _declared(draft, report)
    _set(draft, report)
    for name, node in draft.nodes.items():
        for field in node.__struct_fields__:
            extra = node.field_names.get(field, "")
            for path, readable in readables(getattr(node, field), f"nodes.{short(name)}.{field}"):
                for read in dict.fromkeys(readable.paths):
                    if report.full:
                        return
                    _check(read, path, extra, variables, draft, report)


def readables(value: Any, path: str) -> Iterator[tuple[str, Readable]]:
    """Every template and condition within a field, with its path."""
    match value:
        case Template() | Value() | Condition():
            yield path, value
        case dict():
            for name, element in value.items():
                yield from readables(element, f"{path}.{short(name)}")
        case list() | tuple():
            for place, element in enumerate(value):
                yield from readables(element, f"{path}[{place}]")
        case msgspec.Struct():
            for field in value.__struct_fields__:
                yield from readables(getattr(value, field), f"{path}.{field}")


def _check(read: tuple[str, ...], path: str, extra: str, variables: set[str], draft: Draft, report: Report) -> None:
    name, *parts = read
    if name in variables or name == extra:
        return
    if name in _EVERYWHERE:
        if parts and name in _PARTS and parts[0] not in _PARTS[name]:
            _unknown(".".join(read[:2]), path, [f"{name}.{part}" for part in _PARTS[name]], report)
    elif name in draft.links:
        node = draft.nodes.get(name)
        if parts and node and parts[0] not in node.results:
            _unknown(".".join(read[:2]), path, [f"{name}.{result}" for result in node.results], report)
    elif name == "secret":
        report.error(path, "unknown-variable", "`secret` is known in a request's headers only")
    elif name == "answer":
        report.error(path, "unknown-variable", "`answer` is known in a question's `confirm` only")
    else:
        _unknown(name, path, [*variables, *_EVERYWHERE, *draft.links], report)


def _unknown(name: str, path: str, known: list[str], report: Report) -> None:
    report.unknown(path, "unknown-variable", f"there is no `{short(name)}`", name, known)


def _declared(draft: Draft, report: Report) -> None:
    if len(draft.declared) > MAX_VARIABLES:
        report.error("variables", "too-many", f"a flow has at most {MAX_VARIABLES} variables")
    for name, value in draft.declared.items():
        _nameable(name, f"variables.{short(name)}", report)
        try:
            fitting(value)
        except ValueError as error:
            report.error(f"variables.{short(name)}", "too-large", f"a variable's value {error}")


def _set(draft: Draft, report: Report) -> None:
    for name, node in draft.nodes.items():
        for variable in node.variables():
            for field in ("save_as", "values", "save", "outputs"):
                held = getattr(node, field, None)
                if held == variable:
                    _nameable(variable, f"nodes.{short(name)}.{field}", report)
                elif isinstance(held, dict) and variable in held:
                    _nameable(variable, f"nodes.{short(name)}.{field}.{short(variable)}", report)


def _nameable(name: str, path: str, report: Report) -> None:
    if name in RESERVED or name in _LIQUID:
        report.error(path, "reserved-name", f"a variable cannot be called `{name}`")
    elif not NAME.match(name) or len(name) > MAX_NAME:
        message = f"a variable's name has letters, digits and _, at most {MAX_NAME}: not `{short(name)}`"
        report.error(path, "variable-name", message)
