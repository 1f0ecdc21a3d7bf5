"""Checks of names: variables and node results that templates read, and variables that nodes set."""

import re
from collections.abc import Iterator
from typing import Any

import msgspec

from vocelio.engine.diagnostics import Diagnostics, truncate
from vocelio.engine.runtime.template_scope import RESERVED_NAMES
from vocelio.engine.templating.template import Condition, Template, TemplateValue
from vocelio.engine.validation.partial_flow import PartialFlow
from vocelio.engine.variables import MAX_VARIABLES, to_json_value

NAME_PATTERN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")  # an identifier in templates
MAX_NAME_LENGTH = 64
_LIQUID_KEYWORDS = ("true", "false", "nil", "null", "empty", "blank", "and", "or", "contains", "not", "in", "forloop")
_BUILTIN_FIELDS = {"call": ("id", "seconds"), "caller": ("number",)}
_BUILTIN_NAMES = ("call", "caller", "tenant", "number", "now", "today")

TemplateLike = Template | TemplateValue | Condition


def check_names(flow: PartialFlow, diagnostics: Diagnostics) -> None:
    """Check that every name read by a template exists, and that every variable has a valid name."""
    variables = flow.all_variables
    _check_declared_variables(flow, diagnostics)
    _check_assigned_variables(flow, diagnostics)
    for name, node in flow.nodes.items():
        for field in node.__struct_fields__:
            local_name = node.local_names.get(field, "")
            for path, template in iter_templates(getattr(node, field), f"nodes.{truncate(name)}.{field}"):
                for variable_path in dict.fromkeys(template.variable_paths):
                    if diagnostics.is_full:
                        return
                    _check_reference(variable_path, path, local_name, variables, flow, diagnostics)


def iter_templates(value: Any, path: str) -> Iterator[tuple[str, TemplateLike]]:
    """Yield every template and condition in a field's value, with its path."""
    match value:
        case Template() | TemplateValue() | Condition():
            yield path, value
        case dict():
            for name, element in value.items():
                yield from iter_templates(element, f"{path}.{truncate(name)}")
        case list() | tuple():
            for index, element in enumerate(value):
                yield from iter_templates(element, f"{path}[{index}]")
        case msgspec.Struct():
            for field in value.__struct_fields__:
                yield from iter_templates(getattr(value, field), f"{path}.{field}")


def _check_reference(
    variable_path: tuple[str, ...],
    path: str,
    local_name: str,
    variables: set[str],
    flow: PartialFlow,
    diagnostics: Diagnostics,
) -> None:
    name, *parts = variable_path
    if name in variables or name == local_name:
        return
    if name in _BUILTIN_NAMES:
        if parts and name in _BUILTIN_FIELDS and parts[0] not in _BUILTIN_FIELDS[name]:
            _report_unknown(
                ".".join(variable_path[:2]), path, [f"{name}.{part}" for part in _BUILTIN_FIELDS[name]], diagnostics
            )
    elif name in flow.exits_by_node:
        node = flow.nodes.get(name)
        if parts and node and parts[0] not in node.result_names:
            _report_unknown(
                ".".join(variable_path[:2]), path, [f"{name}.{result}" for result in node.result_names], diagnostics
            )
    elif name == "secret":
        diagnostics.error(path, "unknown-variable", "`secret` is available in a request's headers only")
    elif name == "answer":
        diagnostics.error(path, "unknown-variable", "`answer` is available in a question's `confirm` only")
    else:
        _report_unknown(name, path, [*variables, *_BUILTIN_NAMES, *flow.exits_by_node], diagnostics)


def _report_unknown(name: str, path: str, candidates: list[str], diagnostics: Diagnostics) -> None:
    diagnostics.unknown_word(path, "unknown-variable", f"there is no `{truncate(name)}`", name, candidates)


def _check_declared_variables(flow: PartialFlow, diagnostics: Diagnostics) -> None:
    if len(flow.declared_variables) > MAX_VARIABLES:
        diagnostics.error("variables", "too-many", f"a flow has at most {MAX_VARIABLES} variables")
    for name, value in flow.declared_variables.items():
        _check_variable_name(name, f"variables.{truncate(name)}", diagnostics)
        try:
            to_json_value(value)
        except ValueError as error:
            diagnostics.error(f"variables.{truncate(name)}", "too-large", f"a variable's value {error}")


def _check_assigned_variables(flow: PartialFlow, diagnostics: Diagnostics) -> None:
    for name, node in flow.nodes.items():
        for variable in node.assigned_variables():
            for field in ("save_as", "values", "save", "outputs"):
                value = getattr(node, field, None)
                if value == variable:
                    _check_variable_name(variable, f"nodes.{truncate(name)}.{field}", diagnostics)
                elif isinstance(value, dict) and variable in value:
                    _check_variable_name(variable, f"nodes.{truncate(name)}.{field}.{truncate(variable)}", diagnostics)


def _check_variable_name(name: str, path: str, diagnostics: Diagnostics) -> None:
    if name in RESERVED_NAMES or name in _LIQUID_KEYWORDS:
        diagnostics.error(path, "reserved-name", f"a variable cannot be called `{name}`")
    elif not NAME_PATTERN.match(name) or len(name) > MAX_NAME_LENGTH:
        message = f"a variable's name has letters, digits and _, at most {MAX_NAME_LENGTH}: not `{truncate(name)}`"
        diagnostics.error(path, "variable-name", message)
