"""Texts and conditions in Liquid, compiled once, rendered without a clock and within bounds.

A text that is one single ``{{ ... }}`` keeps the type of its value; every other text renders to a string.
What is wrong with a template's form shows when it is compiled (``ValueError``), what is wrong with its
values when it is rendered (``RenderError``); an unknown name renders as nothing and is told in ``missing``.
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

from vocelio.engine.templating.budget import Budgeted
from vocelio.engine.templating.environment import MAX_OUTPUT, MAX_SOURCE, compile_source, names_read
from vocelio.engine.templating.jsonpath import JsonPath
from vocelio.engine.variables import MAX_DEPTH

MAX_CONDITION = 500

Paths = tuple[tuple[str, ...], ...]


class RenderError(Exception):
    """A template met values that it cannot work with."""


class Template:
    """A compiled text. ``paths`` are the variables that it reads, such as ``("tenant", "name")``."""

    __slots__ = ("_bound", "_value", "paths", "source")

    def __init__(self, source: str) -> None:
        if len(source) > MAX_SOURCE:
            raise ValueError(f"a text has at most {MAX_SOURCE:,} characters, this one {len(source):,}")
        self.source = source
        self._bound = compile_source(source) if "{{" in source or "{%" in source else None
        self.paths: Paths = names_read(self._bound) if self._bound else ()
        nodes = self._bound.nodes if self._bound else []
        alone = len(nodes) == 1 and isinstance(nodes[0], OutputNode)
        self._value = nodes[0].expression if alone and isinstance(nodes[0], OutputNode) else None

    def __repr__(self) -> str:
        return f"Template({self.source!r})"

    @property
    def static(self) -> bool:
        """True when the text has no variables."""
        return self._bound is None

    @property
    def bound(self) -> BoundTemplate | None:
        """The text as the library has it, for who looks into its parts; None for one without variables."""
        return self._bound

    def render(self, scope: Mapping[str, Any], missing: list[str] | None = None) -> str:
        """The text. Raises RenderError."""
        if self._bound is None:
            return self.source
        context, out = Budgeted(self._bound, globals=scope), LimitedStringIO(MAX_OUTPUT)
        try:
            self._bound.render_with_context(context, out)
        except (LiquidError, RecursionError) as error:
            raise _error(self.source, error) from error
        _tell(context, missing)
        return out.getvalue()

    def value(self, scope: Mapping[str, Any], missing: list[str] | None = None) -> Any:
        """The value, of its own type where the text is one single ``{{ ... }}``. Raises RenderError."""
        if self._bound is None or self._value is None:
            return self.render(scope, missing)
        return _evaluate(self._bound, self._value, scope, self.source, missing)


class Value:
    """A literal of any JSON type; texts in it, at any depth, are templates."""

    __slots__ = ("_compiled", "_dynamic", "literal", "paths")

    def __init__(self, literal: object) -> None:
        self.literal = literal
        self._compiled = _compile(literal, MAX_DEPTH)
        templates = _templates(self._compiled)
        self._dynamic = any(not template.static for template in templates)
        self.paths: Paths = tuple(path for template in templates for path in template.paths)

    def __repr__(self) -> str:
        return f"Value({self.literal!r})"

    def value(self, scope: Mapping[str, Any], missing: list[str] | None = None) -> Any:
        """The literal, with what its templates give. Raises RenderError."""
        return _fill(self._compiled, scope, missing) if self._dynamic else self.literal


class Condition:
    """A compiled Liquid condition: what stands between ``{% if`` and ``%}``."""

    __slots__ = ("_bound", "_test", "paths", "source")

    def __init__(self, source: str) -> None:
        if "{%" in source or "%}" in source or not source.strip():
            raise ValueError("a condition is what stands between `{% if` and `%}`, such as `tries > 2`")
        if len(source) > MAX_CONDITION:
            raise ValueError(f"a condition has at most {MAX_CONDITION:,} characters, this one {len(source):,}")
        self.source = source
        self._bound = compile_source("{% if " + source + " %}{% endif %}")
        self.paths: Paths = names_read(self._bound)
        node = self._bound.nodes[0]
        if not isinstance(node, IfNode):
            raise TypeError(f"not a condition: {source!r}")
        self._test = node.condition

    def __repr__(self) -> str:
        return f"Condition({self.source!r})"

    def holds(self, scope: Mapping[str, Any], missing: list[str] | None = None) -> bool:
        """Whether it is true. Raises RenderError, for example when text is compared with a number."""
        return bool(_evaluate(self._bound, self._test, scope, self.source, missing))


def _compile(literal: object, depth: int) -> Any:
    if depth == 0:
        raise ValueError(f"nested more than {MAX_DEPTH} deep")
    match literal:
        case str():
            return Template(literal)
        case dict():
            return {name: _compile(value, depth - 1) for name, value in literal.items()}
        case list() | tuple():
            return [_compile(value, depth - 1) for value in literal]
        case _:
            return literal


def _templates(compiled: object) -> list[Template]:
    match compiled:
        case Template():
            return [compiled]
        case dict():
            return [template for value in compiled.values() for template in _templates(value)]
        case list():
            return [template for value in compiled for template in _templates(value)]
        case _:
            return []


def _fill(compiled: Any, scope: Mapping[str, Any], missing: list[str] | None) -> Any:
    match compiled:
        case Template():
            return compiled.value(scope, missing)
        case dict():
            return {name: _fill(value, scope, missing) for name, value in compiled.items()}
        case list():
            return [_fill(value, scope, missing) for value in compiled]
        case _:
            return compiled


def _evaluate(
    bound: BoundTemplate, expression: Expression, scope: Mapping[str, Any], source: str, missing: list[str] | None
) -> Any:
    context = Budgeted(bound, globals=scope)
    try:
        found = expression.evaluate(context)
        if is_undefined(found):
            str(found)  # so that it is remembered
            found = None
        _tell(context, missing)
        return _json(found)
    except (LiquidError, RecursionError) as error:
        raise _error(source, error) from error


def _json(found: Any) -> Any:
    """The value as JSON can hold it, since a checkpoint must."""
    match found:
        case None | bool() | float():
            return found
        case int():
            return found if abs(found) < 2**53 else float(found)
        case str():
            return str(found)
        case list() | tuple():
            return [_json(element) for element in found]
        case dict():
            return {str(name): _json(value) for name, value in found.items()}
        case Decimal():
            return float(found)
        case date() | time():
            return found.isoformat()
        case _:
            return str(found)


def _tell(context: Budgeted, missing: list[str] | None) -> None:
    if missing is not None:
        missing.extend(context.missing)


def _error(source: str, error: Exception) -> RenderError:
    short = source if len(source) <= 100 else source[:97] + "..."
    what = error.message if isinstance(error, LiquidError) else "nested too deeply"
    return RenderError(f"{short!r}: {what}")


def decode(kind: type, value: object) -> object:
    """msgspec's ``dec_hook``: templates, conditions and paths are compiled where the document is parsed."""
    if kind is Value:
        return Value(value)
    if kind in (Template, Condition, JsonPath):
        if not isinstance(value, str):
            raise ValueError(f"Expected `str`, got `{type(value).__name__}`")
        return kind(value)
    raise NotImplementedError(kind)
