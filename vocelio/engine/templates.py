"""Texts and conditions in Liquid, compiled once, rendered without a clock and within bounds.

A text that is one single ``{{ ... }}`` keeps the type of its value; every other text renders to a string.
What is wrong with a template's form shows when it is compiled (``ValueError``), what is wrong with its
values when it is rendered (``RenderError``); an unknown name renders as nothing.
"""

from collections.abc import Mapping
from typing import Any

from liquid import BoundTemplate, Environment, RenderContext
from liquid.builtin.output import OutputNode
from liquid.builtin.tags.if_tag import IfNode
from liquid.exceptions import LiquidError

from vocelio.engine.filters import FILTERS
from vocelio.engine.problems import did_you_mean

MAX_SOURCE = 5_000  # characters: about six minutes of speech
MAX_OUTPUT = 10_000  # bytes
TAGS = {"if", "unless", "case", "for", "break", "continue", "assign", "capture", "comment", "echo", "#"}
_PARSER_TAGS = {"content", "output", "illegal"}  # the library's own words for what is not a tag


class RenderError(Exception):
    """A template met values that it cannot work with."""


class _Phone(Environment):
    """Liquid as a phone flow may use it. The library's limits on loops and output are off by default."""

    loop_iteration_limit = 200
    output_stream_limit = MAX_OUTPUT
    local_namespace_limit = 20_000

    def __init__(self) -> None:
        super().__init__()
        self.tags = {name: tag for name, tag in self.tags.items() if name in TAGS | _PARSER_TAGS}
        self.filters = dict(FILTERS)


_ENVIRONMENT = _Phone()


def _compile(source: str) -> BoundTemplate:
    if len(source) > MAX_SOURCE:
        raise ValueError(f"a text has at most {MAX_SOURCE:,} characters, this one {len(source):,}")
    try:
        bound = _ENVIRONMENT.from_string(source)
    except LiquidError as error:
        raise ValueError(f"not a Liquid template: {error.message}") from error
    except RecursionError as error:
        raise ValueError("the template is nested too deeply") from error
    unknown = [name for name in bound.filter_names() if name not in FILTERS]
    if unknown:
        raise ValueError(f"there is no filter `{unknown[0]}` {did_you_mean(unknown[0], FILTERS)}".rstrip())
    return bound


class Template:
    """A compiled text."""

    __slots__ = ("_bound", "_value", "source")

    def __init__(self, source: str) -> None:
        self.source = source
        self._bound = _compile(source) if "{{" in source or "{%" in source else None
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
    def names(self) -> list[str]:
        """The variables' paths that it reads, such as ``tenant.name``."""
        return self._bound.global_variable_paths() if self._bound else []

    def render(self, scope: Mapping[str, Any]) -> str:
        """The text. Raises RenderError."""
        if self._bound is None:
            return self.source
        try:
            return self._bound.render(scope)
        except LiquidError as error:
            raise RenderError(f"{self.source!r}: {error.message}") from error

    def value(self, scope: Mapping[str, Any]) -> Any:
        """The value, of its own type where the text is one single ``{{ ... }}``. Raises RenderError."""
        if self._bound is None or self._value is None:
            return self.render(scope)
        return _evaluate(self._bound, self._value, scope, self.source)


class Value:
    """A literal of any JSON type, or a text that is a template."""

    __slots__ = ("_template", "literal")

    def __init__(self, literal: object) -> None:
        self.literal = literal
        self._template = Template(literal) if isinstance(literal, str) else None

    def __repr__(self) -> str:
        return f"Value({self.literal!r})"

    @property
    def names(self) -> list[str]:
        """The variables' paths that it reads."""
        return self._template.names if self._template else []

    def value(self, scope: Mapping[str, Any]) -> Any:
        """The literal, or what the template gives. Raises RenderError."""
        return self._template.value(scope) if self._template else self.literal


class Condition:
    """A compiled Liquid condition: what stands between ``{% if`` and ``%}``."""

    __slots__ = ("_bound", "_test", "source")

    def __init__(self, source: str) -> None:
        if "{%" in source or "%}" in source or not source.strip():
            raise ValueError("a condition is what stands between `{% if` and `%}`, such as `tries > 2`")
        self.source = source
        self._bound = _compile("{% if " + source + " %}{% endif %}")
        node = self._bound.nodes[0]
        if not isinstance(node, IfNode):
            raise TypeError(f"not a condition: {source!r}")
        self._test = node.condition

    def __repr__(self) -> str:
        return f"Condition({self.source!r})"

    @property
    def names(self) -> list[str]:
        """The variables' paths that it reads."""
        return self._bound.global_variable_paths()

    def holds(self, scope: Mapping[str, Any]) -> bool:
        """Whether it is true. Raises RenderError, for example when text is compared with a number."""
        return bool(_evaluate(self._bound, self._test, scope, self.source))


def _evaluate(bound: BoundTemplate, expression: Any, scope: Mapping[str, Any], source: str) -> Any:
    try:
        return expression.evaluate(RenderContext(bound, globals=scope))
    except LiquidError as error:
        raise RenderError(f"{source!r}: {error.message}") from error


def decode(kind: type, value: object) -> object:
    """msgspec's ``dec_hook``: templates and conditions are compiled where the document is parsed."""
    if kind is Value:
        return Value(value)
    if kind in (Template, Condition):
        if not isinstance(value, str):
            raise ValueError(f"Expected `str`, got `{type(value).__name__}`")
        return kind(value)
    raise NotImplementedError(kind)
