"""Liquid templates and conditions: compiled once, rendered within limits and without a clock.

A template that is a single ``{{ ... }}`` keeps the type of its value; every other one renders to a string. Compiling a
malformed template raises ``ValueError``, rendering unsuitable values raises ``RenderError``. An undefined name renders
as an empty string and is added to ``missing_names``.
"""

from collections.abc import Mapping
from datetime import date, time
from decimal import Decimal
from typing import Any

from liquid import BoundTemplate
from liquid.builtin.output import OutputNode
from liquid.builtin.tags.if_tag import IfNode
from liquid.exceptions import LiquidError
from liquid.expression import Expression
from liquid.output import LimitedStringIO
from liquid.undefined import is_undefined

from vocelio.engine.templating.budget import BudgetedContext
from vocelio.engine.templating.environment import (
    MAX_OUTPUT_BYTES,
    MAX_SOURCE_CHARACTERS,
    compile_template,
    referenced_variables,
)
from vocelio.engine.templating.jsonpath import JsonPath
from vocelio.engine.variables import MAX_VALUE_DEPTH

MAX_CONDITION_CHARACTERS = 500

VariablePaths = tuple[tuple[str, ...], ...]


class RenderError(Exception):
    """A template cannot be rendered with these values."""


class Template:
    """A compiled text. ``variable_paths`` are the variables that it reads, such as ``("tenant", "name")``."""

    __slots__ = ("_compiled", "_single_expression", "source", "variable_paths")

    def __init__(self, source: str) -> None:
        if len(source) > MAX_SOURCE_CHARACTERS:
            raise ValueError(f"a text has at most {MAX_SOURCE_CHARACTERS:,} characters, this one {len(source):,}")
        self.source = source
        self._compiled = compile_template(source) if "{{" in source or "{%" in source else None
        self.variable_paths: VariablePaths = referenced_variables(self._compiled) if self._compiled else ()
        nodes = self._compiled.nodes if self._compiled else []
        node = nodes[0] if len(nodes) == 1 else None
        self._single_expression = node.expression if isinstance(node, OutputNode) else None

    def __repr__(self) -> str:
        return f"Template({self.source!r})"

    @property
    def is_static(self) -> bool:
        """True if the text has no variables or tags."""
        return self._compiled is None

    @property
    def compiled(self) -> BoundTemplate | None:
        """The library's template, for analysis of its parts; None for a static text."""
        return self._compiled

    def render(self, scope: Mapping[str, Any], missing_names: list[str] | None = None) -> str:
        """Render to a string. Raises RenderError."""
        if self._compiled is None:
            return self.source
        context, buffer = BudgetedContext(self._compiled, globals=scope), LimitedStringIO(MAX_OUTPUT_BYTES)
        try:
            self._compiled.render_with_context(context, buffer)
        except (LiquidError, RecursionError) as error:
            raise _render_error(self.source, error) from error
        _copy_missing_names(context, missing_names)
        return buffer.getvalue()

    def render_value(self, scope: Mapping[str, Any], missing_names: list[str] | None = None) -> Any:
        """Render; a single ``{{ ... }}`` keeps the type of its value. Raises RenderError."""
        if self._compiled is None or self._single_expression is None:
            return self.render(scope, missing_names)
        return _evaluate_expression(self._compiled, self._single_expression, scope, self.source, missing_names)


class TemplateValue:
    """A JSON literal in which all texts, at any depth, are templates."""

    __slots__ = ("_compiled", "_has_variables", "literal", "variable_paths")

    def __init__(self, literal: object) -> None:
        self.literal = literal
        self._compiled = _compile_literal(literal, MAX_VALUE_DEPTH)
        templates = _collect_templates(self._compiled)
        self._has_variables = any(not template.is_static for template in templates)
        self.variable_paths: VariablePaths = tuple(path for template in templates for path in template.variable_paths)

    def __repr__(self) -> str:
        return f"TemplateValue({self.literal!r})"

    def render_value(self, scope: Mapping[str, Any], missing_names: list[str] | None = None) -> Any:
        """Return the literal with its templates rendered. Raises RenderError."""
        return _render_compiled(self._compiled, scope, missing_names) if self._has_variables else self.literal


class Condition:
    """A compiled Liquid condition: the part between ``{% if`` and ``%}``."""

    __slots__ = ("_compiled", "_expression", "source", "variable_paths")

    def __init__(self, source: str) -> None:
        if "{%" in source or "%}" in source or not source.strip():
            raise ValueError("a condition is the part between `{% if` and `%}`, such as `tries > 2`")
        if len(source) > MAX_CONDITION_CHARACTERS:
            raise ValueError(
                f"a condition has at most {MAX_CONDITION_CHARACTERS:,} characters, this one {len(source):,}"
            )
        self.source = source
        self._compiled = compile_template("{% if " + source + " %}{% endif %}")
        self.variable_paths: VariablePaths = referenced_variables(self._compiled)
        node = self._compiled.nodes[0]
        if not isinstance(node, IfNode):
            raise TypeError(f"not a condition: {source!r}")
        self._expression = node.condition

    def __repr__(self) -> str:
        return f"Condition({self.source!r})"

    def evaluate(self, scope: Mapping[str, Any], missing_names: list[str] | None = None) -> bool:
        """Evaluate the condition. Raises RenderError, for example if a text is compared with a number."""
        return bool(_evaluate_expression(self._compiled, self._expression, scope, self.source, missing_names))


def _compile_literal(literal: object, depth: int) -> Any:
    if depth == 0:
        raise ValueError(f"nested more than {MAX_VALUE_DEPTH} deep")
    match literal:
        case str():
            return Template(literal)
        case dict():
            return {name: _compile_literal(value, depth - 1) for name, value in literal.items()}
        case list() | tuple():
            return [_compile_literal(value, depth - 1) for value in literal]
        case _:
            return literal


def _collect_templates(compiled: object) -> list[Template]:
    match compiled:
        case Template():
            return [compiled]
        case dict():
            return [template for value in compiled.values() for template in _collect_templates(value)]
        case list():
            return [template for value in compiled for template in _collect_templates(value)]
        case _:
            return []


def _render_compiled(compiled: Any, scope: Mapping[str, Any], missing_names: list[str] | None) -> Any:
    match compiled:
        case Template():
            return compiled.render_value(scope, missing_names)
        case dict():
            return {name: _render_compiled(value, scope, missing_names) for name, value in compiled.items()}
        case list():
            return [_render_compiled(value, scope, missing_names) for value in compiled]
        case _:
            return compiled


def _evaluate_expression(
    template: BoundTemplate,
    expression: Expression,
    scope: Mapping[str, Any],
    source: str,
    missing_names: list[str] | None,
) -> Any:
    context = BudgetedContext(template, globals=scope)
    try:
        value = expression.evaluate(context)
        if is_undefined(value):
            str(value)  # records the missing name
            value = None
        _copy_missing_names(context, missing_names)
        return _to_json_value(value)
    except (LiquidError, RecursionError) as error:
        raise _render_error(source, error) from error


def _to_json_value(value: Any) -> Any:
    """Convert a value to JSON types, as required by checkpoints."""
    match value:
        case None | bool() | float():
            return value
        case int():
            return value if abs(value) < 2**53 else float(value)
        case str():
            return str(value)
        case list() | tuple():
            return [_to_json_value(element) for element in value]
        case dict():
            return {str(name): _to_json_value(element) for name, element in value.items()}
        case Decimal():
            return float(value)
        case date() | time():
            return value.isoformat()
        case _:
            return str(value)


def _copy_missing_names(context: BudgetedContext, missing_names: list[str] | None) -> None:
    if missing_names is not None:
        missing_names.extend(context.missing_names)


def _render_error(source: str, error: Exception) -> RenderError:
    short = source if len(source) <= 100 else source[:97] + "..."
    reason = error.message if isinstance(error, LiquidError) else "nested too deeply"
    return RenderError(f"{short!r}: {reason}")


def decode_hook(kind: type, value: object) -> object:
    """Compile templates, conditions and paths while msgspec decodes a document (its ``dec_hook``)."""
    if kind is TemplateValue:
        return TemplateValue(value)
    if kind in (Template, Condition, JsonPath):
        if not isinstance(value, str):
            raise ValueError(f"Expected `str`, got `{type(value).__name__}`")
        return kind(value)
    if decode_json := getattr(kind, "decode_json", None):
        return decode_json(value)
    raise NotImplementedError(kind)
