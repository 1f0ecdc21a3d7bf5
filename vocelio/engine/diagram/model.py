"""Diagram of a flow as boxes and arrows, independent of the renderer.

Exits with the same target are one arrow. Exits without a target end the call and are listed in their box.
"""

import msgspec

from vocelio.engine.flow import REPEAT_TARGET, Flow
from vocelio.engine.node import Node
from vocelio.engine.nodes.decide import Decide

MAX_LABEL_CHARACTERS = 44  # of a node's text: what fits in a box
GLOBAL_COMMANDS = "(anywhere)"  # not a valid name of a node
LABEL_FIELDS = (
    "text",
    "prompt",
    "audio",
    "department",
    "number",
    "sip",
    "url",
    "flow",
    "name",
    "seconds",
    "weekly",
    "weights",
    "values",
)


class Box(msgspec.Struct, frozen=True):
    """A node. ``ending_exits`` end the call; a node without exits ``is_terminal``."""

    name: str
    type: str
    text: str
    is_start: bool = False
    is_terminal: bool = False
    ending_exits: tuple[str, ...] = ()


class Arrow(msgspec.Struct, frozen=True):
    """One or several exits of ``source`` that lead to ``target``."""

    source: str
    target: str
    exits: tuple[str, ...]

    @property
    def label(self) -> str:
        """The exits' names; empty for a single ``next``."""
        return "" if self.exits == ("next",) else ", ".join(self.exits)


class Diagram(msgspec.Struct, frozen=True):
    """The whole flow, boxes in the order of the document."""

    name: str
    start: str
    boxes: tuple[Box, ...]
    arrows: tuple[Arrow, ...]


def build_diagram(flow: Flow) -> Diagram:
    """Build the diagram of a flow."""
    boxes = [_build_box(name, node, flow.start) for name, node in flow.nodes.items()]
    arrows = [arrow for name, node in flow.nodes.items() for arrow in _build_arrows(name, _exit_targets(node))]
    command_targets = {name: command.go for name, command in flow.anywhere.items() if command.go != REPEAT_TARGET}
    if command_targets:
        boxes.append(Box(GLOBAL_COMMANDS, "global commands", ""))
        arrows += _build_arrows(GLOBAL_COMMANDS, command_targets)
    return Diagram(flow.name, flow.start, tuple(boxes), tuple(arrows))


def _exit_targets(node: Node) -> dict[str, str]:
    targets = {name: node.target_of(name) for name in dict.fromkeys((*node.possible_exits(), *node.exits))}
    return {name: target for name, target in targets.items() if target is not None}


def _build_box(name: str, node: Node, start: str) -> Box:
    exits = node.possible_exits()
    ending_exits = tuple(exit_name for exit_name in dict.fromkeys(exits) if node.target_of(exit_name) is None)
    return Box(name, node.type, node_label(node), name == start, not exits and not node.exits, ending_exits)


def _build_arrows(source: str, targets: dict[str, str]) -> list[Arrow]:
    exits_by_target: dict[str, list[str]] = {}
    for exit_name, target in targets.items():
        exits_by_target.setdefault(target, []).append(exit_name)
    return [Arrow(source, target, tuple(exits)) for target, exits in exits_by_target.items()]


def node_label(node: Node) -> str:
    """Summarize what a node says or does."""
    if isinstance(node, Decide):
        return truncate_at_word("; ".join(rule.when.source for rule in node.rules))
    for field in LABEL_FIELDS:
        value = getattr(node, field, None)
        if value:
            return truncate_at_word(
                str(getattr(value, "source", value) if not isinstance(value, dict) else ", ".join(value))
            )
    return ""


def truncate_at_word(text: str, max_characters: int = MAX_LABEL_CHARACTERS) -> str:
    """Join to one line and truncate at a word."""
    text = " ".join(text.split())
    if len(text) <= max_characters:
        return text
    return text[: max_characters - 1].rsplit(" ", 1)[0][: max_characters - 1] + "…"
