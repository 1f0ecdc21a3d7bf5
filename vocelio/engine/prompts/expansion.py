"""The texts that a template can come to, as far as that is known before any call.

Some names have a few known values, such as the choices of a question. Where all that a template reads is known it is
rendered with each combination; where something is not, what it would print is a ``MARK``, and every way through the
tags is taken, so that the sentences between remain.
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

from vocelio.engine.templating.budget import Budgeted
from vocelio.engine.templating.template import RenderError, Template

MAX_VARIANTS = 50
"""Texts of one template: twice as many as the longest menus have choices."""

MARK = "\0"
"""What nobody knows yet. A text that has one of its own is as good as unknown."""

_OF_THE_CLOCK = ("date", "time")  # filters that read the instant of the call

Name = tuple[str, ...]
"""A variable, ``("department",)``, or what came of a node, ``("ask", "value")``."""

Known = Mapping[Name, Collection[str]]
"""The values that a name can have, each as JSON."""


def variants(template: Template, known: Known) -> list[str]:
    """At most MAX_VARIANTS texts, each once, with MARKs for what is not known."""
    bound = template.bound
    if bound is None:
        return [template.source]
    names = _told({name for path in template.paths if (name := _name(path, known))}, known)
    whole = all(_name(path, names) for path in template.paths) and not _reads_clock(bound.nodes, Budgeted(bound))
    made = dict[str, None]()
    for scope in _scopes(names):
        if whole:
            made |= dict.fromkeys(_rendered(template, scope))
        else:
            made |= dict.fromkeys(_ways(bound.nodes, Budgeted(bound, globals=scope), names))
    return list(islice(made, MAX_VARIANTS))


def _name(path: Name, known: Mapping[Name, Any]) -> Name | None:
    return next((path[:length] for length in (1, 2) if path[:length] in known), None)


def _told(names: set[Name], known: Known) -> dict[Name, list[str]]:
    """The names' values; those with the most are left unknown as long as there are too many combinations."""
    told = {name: sorted(known[name]) for name in sorted(names)}
    while math.prod(map(len, told.values())) > MAX_VARIANTS:
        del told[max(told, key=lambda name: len(told[name]))]
    return told


def _scopes(names: Mapping[Name, Collection[str]]) -> Iterator[dict[str, Any]]:
    for values in product(*names.values()):
        scope: dict[str, Any] = {}
        for name, value in zip(names, values, strict=True):
            decoded = msgspec.json.decode(value)
            if len(name) == 1:
                scope[name[0]] = decoded
            else:
                scope.setdefault(name[0], {})[name[1]] = decoded
        yield scope


def _rendered(template: Template, scope: dict[str, Any]) -> list[str]:
    try:
        return [template.render(scope)]
    except RenderError:
        return []


# What is not wholly known


def _ways(nodes: Collection[Node], context: Budgeted, known: Known) -> list[str]:
    """What the nodes, one after another, can print."""
    made = [""]
    for node in nodes:
        parts = _prints(node, context, known)
        made = _first(before + part for before in made for part in parts)
    return made


def _prints(node: Node, context: Budgeted, known: Known) -> list[str]:
    match node:
        case ContentNode():
            return [node.text]
        case OutputNode():
            return [_value(node.expression, context, known)]
        case BlockNode():
            return _ways(node.nodes, context, known)
        case ConditionalBlockNode() | MultiExpressionBlockNode():
            return _ways(node.block.nodes, context, known)
        case IfNode() | UnlessNode() | ForNode():
            return _one_of(node, context, known, otherwise=node.default is not None)
        case CaseNode():
            return _one_of(node, context, known, otherwise=any(isinstance(block, BlockNode) for block in node.blocks))
        case AssignNode() | CaptureNode() | CommentNode():
            return [""]
        case _:
            return [MARK]


def _one_of(node: Node, context: Budgeted, known: Known, *, otherwise: bool) -> list[str]:
    """Any of its blocks, or nothing where there is none for ``otherwise``."""
    blocks = list(node.children(context, include_partials=False))
    made = [text for block in blocks for text in _prints(block, context, known)]
    return _first([*made, *([] if otherwise else [""])])


def _first(texts: Any) -> list[str]:
    return list(islice(dict.fromkeys(texts), MAX_VARIANTS))


def _value(expression: Expression, context: Budgeted, known: Known) -> str:
    if not all(_name(_plain(path), known) for path in _paths(expression)) or _clocked(expression):
        return MARK
    try:
        return str(to_liquid_string(expression.evaluate(context), autoescape=False))
    except (LiquidError, RecursionError):
        return MARK


def _paths(expression: Expression) -> Iterator[Path]:
    if isinstance(expression, Path):
        yield expression
    for child in expression.children():
        yield from _paths(child)


def _plain(path: Path) -> Name:
    return tuple(part if isinstance(part, str) else "" for part in path.path)


def _reads_clock(nodes: Collection[Node], context: Budgeted) -> bool:
    for node in nodes:
        if any(map(_clocked, node.expressions())):
            return True
        if _reads_clock(list(node.children(context, include_partials=False)), context):
            return True
    return False


def _clocked(expression: Expression) -> bool:
    filters = expression.filters or () if isinstance(expression, FilteredExpression) else ()
    return any(used.name in _OF_THE_CLOCK for used in filters) or any(map(_clocked, expression.children()))
