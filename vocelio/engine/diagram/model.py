"""A flow as boxes and arrows: what every drawing of it shows, whatever it is drawn with.

Exits that lead to the same node are one arrow; exits that are left out end the call and stand in their box.
"""

import msgspec

from vocelio.engine.flow import REPEAT, Flow
from vocelio.engine.node import Node
from vocelio.engine.nodes.decide import Decide

MAX_TEXT = 44  # characters of a node's text: what fits in a box
ANYWHERE = "(anywhere)"  # no node can be called so
SHOWN = (
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
    start: bool = False
    last: bool = False
    ends: tuple[str, ...] = ()


class Arrow(msgspec.Struct, frozen=True):
    """One or several exits of ``source`` that lead to ``target``."""

    source: str
    target: str
    exits: tuple[str, ...]

    @property
    def label(self) -> str:
        """The exits' names; none for a lone ``next``, which says nothing."""
        return "" if self.exits == ("next",) else ", ".join(self.exits)


class Picture(msgspec.Struct, frozen=True):
    """The whole flow, boxes in the order of the document."""

    name: str
    start: str
    boxes: tuple[Box, ...]
    arrows: tuple[Arrow, ...]


def picture(flow: Flow) -> Picture:
    """What is to be drawn."""
    boxes = [_box(name, node, flow.start) for name, node in flow.nodes.items()]
    arrows = [arrow for name, node in flow.nodes.items() for arrow in _arrows(name, _led(node))]
    wishes = {name: wish.go for name, wish in flow.anywhere.items() if wish.go != REPEAT}
    if wishes:
        boxes.append(Box(ANYWHERE, "heard at every question", ""))
        arrows += _arrows(ANYWHERE, wishes)
    return Picture(flow.name, flow.start, tuple(boxes), tuple(arrows))


def _led(node: Node) -> dict[str, str]:
    ways = {name: node.exit_taken(name) for name in dict.fromkeys((*node.ways_out(), *node.exits))}
    return {name: target for name, target in ways.items() if target is not None}


def _box(name: str, node: Node, start: str) -> Box:
    ways = node.ways_out()
    ends = tuple(way for way in dict.fromkeys(ways) if node.exit_taken(way) is None)
    return Box(name, node.type, first_words(node), name == start, not ways and not node.exits, ends)


def _arrows(source: str, led: dict[str, str]) -> list[Arrow]:
    together: dict[str, list[str]] = {}
    for exit_name, target in led.items():
        together.setdefault(target, []).append(exit_name)
    return [Arrow(source, target, tuple(exits)) for target, exits in together.items()]


def first_words(node: Node) -> str:
    """What a node says or does, in a few words."""
    if isinstance(node, Decide):
        return shortened("; ".join(rule.when.source for rule in node.rules))
    for field in SHOWN:
        value = getattr(node, field, None)
        if value:
            return shortened(str(getattr(value, "source", value) if not isinstance(value, dict) else ", ".join(value)))
    return ""


def shortened(text: str, longest: int = MAX_TEXT) -> str:
    """On one line, cut at a word."""
    text = " ".join(text.split())
    if len(text) <= longest:
        return text
    return text[: longest - 1].rsplit(" ", 1)[0][: longest - 1] + "…"
