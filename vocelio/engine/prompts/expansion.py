"""Template expansion: all texts that a template can render, as far as they are known before any call.

If all variables of a template have a few known values, it is rendered with each combination. Otherwise unknown output
is replaced by ``UNKNOWN`` and every branch is followed, so that the sentences in between remain.
"""

import math
from collections.abc import Collection, Iterator, Mapping
from itertools import islice, product
from typing import Any

import msgspec
from liquid.ast import BlockNode, ConditionalBlockNode, Node
from liquid.builtin.content import ContentNode
from liquid.builtin.expressions import FilteredExpression, Path
from liquid.builtin.output import OutputNode
from liquid.builtin.tags.assign_tag import AssignNode
from liquid.builtin.tags.capture_tag import CaptureNode
from liquid.builtin.tags.case_tag import CaseNode, MultiExpressionBlockNode
from liquid.builtin.tags.comment_tag import CommentNode
from liquid.builtin.tags.for_tag import ForNode
from liquid.builtin.tags.if_tag import IfNode
from liquid.builtin.tags.unless_tag import UnlessNode
from liquid.exceptions import LiquidError
from liquid.expression import Expression
from liquid.stringify import to_liquid_string

from vocelio.engine.templating.budget import BudgetedContext
from vocelio.engine.templating.template import RenderError, Template

MAX_EXPANDED_TEXTS = 50
"""Of one template: twice the choices of the longest menus."""

UNKNOWN = "\0"
"""Placeholder of unknown output. A text that contains this character itself counts as unknown, too."""

_CLOCK_FILTERS = ("date", "time")  # filters that may read the clock

VariablePath = tuple[str, ...]
"""A variable, ``("department",)``, or a result of a node, ``("ask", "value")``."""

KnownValues = Mapping[VariablePath, Collection[str]]
"""The possible values of a path, each as JSON."""


def expand_template(template: Template, known_values: KnownValues) -> list[str]:
    """Return at most MAX_EXPANDED_TEXTS distinct texts, with UNKNOWN for unknown output."""
    compiled = template.compiled
    if compiled is None:
        return [template.source]
    names = _limit_combinations(
        {name for path in template.variable_paths if (name := _known_prefix(path, known_values))}, known_values
    )
    fully_known = all(_known_prefix(path, names) for path in template.variable_paths) and not _nodes_read_clock(
        compiled.nodes, BudgetedContext(compiled)
    )
    texts = dict[str, None]()
    for scope in _iter_scopes(names):
        if fully_known:
            texts |= dict.fromkeys(_render(template, scope))
        else:
            texts |= dict.fromkeys(_expand_nodes(compiled.nodes, BudgetedContext(compiled, globals=scope), names))
    return list(islice(texts, MAX_EXPANDED_TEXTS))


def _known_prefix(path: VariablePath, known_values: Mapping[VariablePath, Any]) -> VariablePath | None:
    return next((path[:length] for length in (1, 2) if path[:length] in known_values), None)


def _limit_combinations(names: set[VariablePath], known_values: KnownValues) -> dict[VariablePath, list[str]]:
    """Return the values of the names, without those with the most values while there are too many combinations."""
    values = {name: sorted(known_values[name]) for name in sorted(names)}
    while math.prod(map(len, values.values())) > MAX_EXPANDED_TEXTS:
        del values[max(values, key=lambda name: len(values[name]))]
    return values


def _iter_scopes(names: Mapping[VariablePath, Collection[str]]) -> Iterator[dict[str, Any]]:
    for values in product(*names.values()):
        scope: dict[str, Any] = {}
        for name, value in zip(names, values, strict=True):
            decoded = msgspec.json.decode(value)
            if len(name) == 1:
                scope[name[0]] = decoded
            else:
                scope.setdefault(name[0], {})[name[1]] = decoded
        yield scope


def _render(template: Template, scope: dict[str, Any]) -> list[str]:
    try:
        return [template.render(scope)]
    except RenderError:
        return []


# Partial evaluation


def _expand_nodes(nodes: Collection[Node], context: BudgetedContext, known_values: KnownValues) -> list[str]:
    """Return the possible outputs of consecutive nodes."""
    texts = [""]
    for node in nodes:
        parts = _expand_node(node, context, known_values)
        texts = _limit_texts(text + part for text in texts for part in parts)
    return texts


def _expand_node(node: Node, context: BudgetedContext, known_values: KnownValues) -> list[str]:
    match node:
        case ContentNode():
            return [node.text]
        case OutputNode():
            return [_evaluate_output(node.expression, context, known_values)]
        case BlockNode():
            return _expand_nodes(node.nodes, context, known_values)
        case ConditionalBlockNode() | MultiExpressionBlockNode():
            return _expand_nodes(node.block.nodes, context, known_values)
        case IfNode() | UnlessNode() | ForNode():
            return _expand_branches(node, context, known_values, has_default=node.default is not None)
        case CaseNode():
            return _expand_branches(
                node, context, known_values, has_default=any(isinstance(block, BlockNode) for block in node.blocks)
            )
        case AssignNode() | CaptureNode() | CommentNode():
            return [""]
        case _:
            return [UNKNOWN]


def _expand_branches(
    node: Node, context: BudgetedContext, known_values: KnownValues, *, has_default: bool
) -> list[str]:
    """Return the outputs of every block, and an empty one if there is no default block."""
    blocks = list(node.children(context, include_partials=False))
    texts = [text for block in blocks for text in _expand_node(block, context, known_values)]
    return _limit_texts([*texts, *([] if has_default else [""])])


def _limit_texts(texts: Any) -> list[str]:
    return list(islice(dict.fromkeys(texts), MAX_EXPANDED_TEXTS))


def _evaluate_output(expression: Expression, context: BudgetedContext, known_values: KnownValues) -> str:
    if not all(
        _known_prefix(_static_path(path), known_values) for path in _iter_paths(expression)
    ) or _expression_reads_clock(expression):
        return UNKNOWN
    try:
        return str(to_liquid_string(expression.evaluate(context), autoescape=False))
    except (LiquidError, RecursionError):
        return UNKNOWN


def _iter_paths(expression: Expression) -> Iterator[Path]:
    if isinstance(expression, Path):
        yield expression
    for child in expression.children():
        yield from _iter_paths(child)


def _static_path(path: Path) -> VariablePath:
    return tuple(part if isinstance(part, str) else "" for part in path.path)


def _nodes_read_clock(nodes: Collection[Node], context: BudgetedContext) -> bool:
    for node in nodes:
        if any(map(_expression_reads_clock, node.expressions())):
            return True
        if _nodes_read_clock(list(node.children(context, include_partials=False)), context):
            return True
    return False


def _expression_reads_clock(expression: Expression) -> bool:
    filters = expression.filters or () if isinstance(expression, FilteredExpression) else ()
    return any(used.name in _CLOCK_FILTERS for used in filters) or any(
        map(_expression_reads_clock, expression.children())
    )
