"""Liquid as a phone flow may use it: which tags, which filters, within which bounds.

Compiled once per version of a flow. What the library would let grow without bounds is refused here, when the
flow is written: ranges outside ``for``, ``offset`` (it skips one by one), names made up at run time.
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

MAX_SOURCE_CHARACTERS = 5_000  # characters: about six minutes of speech
MAX_OUTPUT_BYTES = 10_000  # bytes
MAX_LOOP_ITERATIONS = 200  # rounds of a loop, all of its inner loops together
MAX_TEMPLATE_TAGS = 300  # tags and outputs in one text
_LONG_WHITESPACE = re.compile(r"\s{61}")  # a long row of them takes the library's lexer time by its square
MAX_BRACKETS = 50  # nested, they take time by their square
ALLOWED_TAGS = {"if", "unless", "case", "for", "break", "continue", "assign", "capture", "comment", "echo", "#"}
_INTERNAL_TAGS = {"content", "output", "illegal"}  # the library's own words for what is not a tag


class _BudgetedTemplate(BoundTemplate):
    context_class = BudgetedContext


class PhoneEnvironment(Environment):
    """The library's limits on loops and output are off by default."""

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
    """The compiled text. Raises ValueError with what is wrong with its form."""
    if _LONG_WHITESPACE.search(source):
        raise ValueError("a text with tags or values has no more than 60 blanks in a row")
    if source.count("[") > MAX_BRACKETS:
        raise ValueError(f"a text has at most {MAX_BRACKETS} brackets")
    if source.count("{{") + source.count("{%") > MAX_TEMPLATE_TAGS:
        raise ValueError(f"a text has at most {MAX_TEMPLATE_TAGS} tags and values")
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
    """The variables' paths that it reads from outside, such as ``("tenant", "name")``, sorted.

    Raises ValueError for a filter that does not exist.
    """
    analysis = template.analyze()
    for name in analysis.filters:
        if name not in FILTERS:
            hint = did_you_mean(name[:64], FILTERS)
            raise ValueError(f"there is no filter `{name[:64]}`" + (f", {hint}" if hint else ""))
    return tuple(sorted({_static_prefix(v.segments) for found in analysis.globals.values() for v in found}))


def _static_prefix(segments: Sequence[object]) -> tuple[str, ...]:
    """The leading names of a path: what follows an index or a name in brackets cannot be told beforehand."""
    plain: list[str] = []
    for segment in segments:
        if not isinstance(segment, str):
            break
        plain.append(segment)
    return tuple(plain)


def _check_node(node: Node, template: BoundTemplate) -> None:
    for expression in node.expressions():
        for part in _walk_expression(expression):
            _check_expression(part)
    for child in node.children(BudgetedContext(template), include_partials=False):
        _check_node(child, template)


def _check_expression(expression: Expression) -> None:
    if isinstance(expression, RangeLiteral) and not isinstance(expression, _BoundedRange):
        raise ValueError("a range stands only in `for`")
    if isinstance(expression, Path) and not isinstance(expression.path[0], str):
        raise ValueError("a variable's name cannot be made up at run time")


def _walk_expression(expression: Expression) -> Iterator[Expression]:
    """All of it, from the left: without recursion, as a condition of n words is n deep and would take n * n steps."""
    ahead = [expression]
    while ahead:
        part = ahead.pop()
        if isinstance(part, LoopExpression):
            if part.offset is not None:
                raise ValueError("`for` takes no `offset`")
            if isinstance(part.iterable, RangeLiteral):
                literal = part.iterable
                part.iterable = _BoundedRange(literal.token, literal.start, literal.stop)
        yield part
        ahead.extend(reversed([*part.children()]))


class _BoundedRange(RangeLiteral):
    """``(1..n)`` in a ``for``: checked before ``reversed`` makes a list of it."""

    def _make_range(self, start: object, stop: object) -> range:
        made = super()._make_range(start, stop)
        if made.stop - made.start > MAX_LOOP_ITERATIONS:
            raise LiquidError("the range is too long", token=self.token)
        return made
