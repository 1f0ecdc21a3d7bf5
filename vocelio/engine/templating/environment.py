"""The Liquid environment of flows: allowed tags and filters, limits, and the compile step.

Templates are compiled once per flow version. Constructs that the library does not bound are rejected at compile time:
ranges outside ``for``, ``offset`` (it skips items one by one), and variable names computed at run time.
"""

import re
from collections.abc import Iterator, Sequence

from liquid import BoundTemplate, Environment
from liquid.ast import Node
from liquid.builtin.expressions import LoopExpression, Path
from liquid.builtin.expressions.primitive import RangeLiteral
from liquid.exceptions import LiquidError
from liquid.expression import Expression

from vocelio.engine.diagnostics import did_you_mean
from vocelio.engine.templating.budget import BudgetedContext
from vocelio.engine.templating.filters import FILTERS

MAX_SOURCE_CHARACTERS = 5_000  # about six minutes of speech
MAX_OUTPUT_BYTES = 10_000  # of one rendered text
MAX_LOOP_ITERATIONS = 200  # of a loop, including all inner loops
MAX_TEMPLATE_TAGS = 300  # tags and outputs in one text
MAX_BRACKETS = 50  # nested brackets take quadratic time
_LONG_WHITESPACE = re.compile(r"\s{61}")  # the library's lexer takes quadratic time for runs of whitespace
ALLOWED_TAGS = {"if", "unless", "case", "for", "break", "continue", "assign", "capture", "comment", "echo", "#"}
_INTERNAL_TAGS = {"content", "output", "illegal"}  # the library's pseudo tags for everything else


class _BudgetedTemplate(BoundTemplate):
    context_class = BudgetedContext


class PhoneEnvironment(Environment):
    """Liquid with our tags, filters and limits (the library's limits on loops and output are off by default)."""

    loop_iteration_limit = MAX_LOOP_ITERATIONS
    output_stream_limit = MAX_OUTPUT_BYTES
    local_namespace_limit = 20_000
    block_nesting_limit = 10
    template_class = _BudgetedTemplate

    def __init__(self) -> None:
        super().__init__()
        self.tags = {name: tag for name, tag in self.tags.items() if name in ALLOWED_TAGS | _INTERNAL_TAGS}
        self.filters = dict(FILTERS)


_ENVIRONMENT = PhoneEnvironment()


def compile_template(source: str) -> BoundTemplate:
    """Compile a template. Raises ValueError if it is malformed or not allowed."""
    if _LONG_WHITESPACE.search(source):
        raise ValueError("a template has at most 60 consecutive whitespace characters")
    if source.count("[") > MAX_BRACKETS:
        raise ValueError(f"a template has at most {MAX_BRACKETS} brackets")
    if source.count("{{") + source.count("{%") > MAX_TEMPLATE_TAGS:
        raise ValueError(f"a template has at most {MAX_TEMPLATE_TAGS} tags and values")
    try:
        bound = _ENVIRONMENT.from_string(source)
        for node in bound.nodes:
            _check_node(node, bound)
    except LiquidError as error:
        raise ValueError(f"not a Liquid template: {error.message}") from error
    except (RecursionError, ArithmeticError) as error:
        raise ValueError("not a Liquid template: nested too deeply, or a number too large") from error
    return bound


def referenced_variables(template: BoundTemplate) -> tuple[tuple[str, ...], ...]:
    """Return the paths of the variables that a template reads, such as ``("tenant", "name")``, sorted.

    Raises ValueError for an unknown filter.
    """
    analysis = template.analyze()
    for name in analysis.filters:
        if name not in FILTERS:
            hint = did_you_mean(name[:64], FILTERS)
            raise ValueError(f"there is no filter `{name[:64]}`" + (f", {hint}" if hint else ""))
    return tuple(sorted({_static_prefix(use.segments) for uses in analysis.globals.values() for use in uses}))


def _static_prefix(segments: Sequence[object]) -> tuple[str, ...]:
    """Return a path's leading names, up to the first index or computed name."""
    names: list[str] = []
    for segment in segments:
        if not isinstance(segment, str):
            break
        names.append(segment)
    return tuple(names)


def _check_node(node: Node, template: BoundTemplate) -> None:
    for expression in node.expressions():
        for part in _walk_expression(expression):
            _check_expression(part)
    for child in node.children(BudgetedContext(template), include_partials=False):
        _check_node(child, template)


def _check_expression(expression: Expression) -> None:
    if isinstance(expression, RangeLiteral) and not isinstance(expression, _BoundedRange):
        raise ValueError("a range is only allowed in `for`")
    if isinstance(expression, Path) and not isinstance(expression.path[0], str):
        raise ValueError("a variable's name cannot be computed at run time")


def _walk_expression(expression: Expression) -> Iterator[Expression]:
    """Yield all parts, left to right. Not recursive: a condition of n words is n deep and would take n * n steps."""
    stack = [expression]
    while stack:
        part = stack.pop()
        if isinstance(part, LoopExpression):
            if part.offset is not None:
                raise ValueError("`for` does not support `offset`")
            if isinstance(part.iterable, RangeLiteral):
                literal = part.iterable
                part.iterable = _BoundedRange(literal.token, literal.start, literal.stop)
        yield part
        stack.extend(reversed([*part.children()]))


class _BoundedRange(RangeLiteral):
    """``(1..n)`` in a ``for``, checked before ``reversed`` turns it into a list."""

    def _make_range(self, start: object, stop: object) -> range:
        bounds = super()._make_range(start, stop)
        if bounds.stop - bounds.start > MAX_LOOP_ITERATIONS:
            raise LiquidError("the range is too long", token=self.token)
        return bounds
