"""A flow as boxes and arrows: what every drawing of it shows, whatever it is drawn with.

Exits that lead to the same node are one arrow; exits that are left out end the call and stand in their box.
"""

import msgspec

from vocelio.engine.flow import REPEAT_TARGET, Flow
from vocelio.engine.node import Node
from vocelio.engine.nodes.decide import Decide

MAX_LABEL_CHARACTERS = 44  # characters of a node's text: what fits in a box
GLOBAL_COMMANDS = "(anywhere)"  # no node can be called so
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
    """A node. ``ends`` are the exits by which the call ends; a node without any exit has ``last``."""

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
        """The exits' names; none for a lone ``next``, which says nothing."""
        return "" if self.exits == ("next",) else ", ".join(self.exits)


class Diagram(msgspec.Struct, frozen=True):
    """The whole flow, boxes in the order of the document."""

    name: str
    start: str
    boxes: tuple[Box, ...]
    arrows: tuple[Arrow, ...]


def build_diagram(flow: Flow) -> Diagram:
    """What is to be drawn."""
    boxes = [_build_box(name, node, flow.start) for name, node in flow.nodes.items()]
    arrows = [arrow for name, node in flow.nodes.items() for arrow in _build_arrows(name, _exit_targets(node))]
    wishes = {name: wish.go for name, wish in flow.anywhere.items() if wish.go != REPEAT_TARGET}
    if wishes:
        boxes.append(Box(GLOBAL_COMMANDS, "heard at every question", ""))
        arrows += _build_arrows(GLOBAL_COMMANDS, wishes)
    return Diagram(flow.name, flow.start, tuple(boxes), tuple(arrows))


def _exit_targets(node: Node) -> dict[str, str]:
    ways = {name: node.target_of(name) for name in dict.fromkeys((*node.possible_exits(), *node.exits))}
    return {name: target for name, target in ways.items() if target is not None}


def _build_box(name: str, node: Node, start: str) -> Box:
    ways = node.possible_exits()
    ends = tuple(way for way in dict.fromkeys(ways) if node.target_of(way) is None)
    return Box(name, node.type, node_label(node), name == start, not ways and not node.exits, ends)


def _build_arrows(source: str, targets: dict[str, str]) -> list[Arrow]:
    together: dict[str, list[str]] = {}
    for exit_name, target in targets.items():
        together.setdefault(target, []).append(exit_name)
    return [Arrow(source, target, tuple(exits)) for target, exits in together.items()]


def node_label(node: Node) -> str:
    """What a node says or does, in a few words."""
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
    """On one line, cut at a word."""
    text = " ".join(text.split())
    if len(text) <= max_characters:
        return text
    return text[: max_characters - 1].rsplit(" ", 1)[0][: max_characters - 1] + "…"
