"""Which exits of which nodes the scenarios took, and which none of them did."""

from collections.abc import Iterable, Iterator

import msgspec

from vocelio.engine.actions import EmitEvent
from vocelio.engine.call_log.exchange import Exchange
from vocelio.engine.flow import FlowVersion
from vocelio.engine.node import Node
from vocelio.engine.nodes.end import End
from vocelio.engine.nodes.subflow import Subflow

NodeExit = tuple[str, str]
"""A node and an exit of it; for a node without exits, such as hangup, the exit is empty: having been there."""


class Coverage(msgspec.Struct, frozen=True):
    """Ways in the order of the document; ``taken`` counts how often."""

    taken: dict[NodeExit, int]
    missed: tuple[NodeExit, ...]

    @property
    def ratio(self) -> float:
        """1.0 when every way was taken."""
        return len(self.taken) / (len(self.taken) + len(self.missed))


def all_exits(version: FlowVersion) -> list[NodeExit]:
    """Every way through the flow's nodes."""
    nodes = version.flow.nodes.items()
    return [(name, way) for name, node in nodes for way in dict.fromkeys(_exits_of(version, node) or [""])]


def _exits_of(version: FlowVersion, node: Node) -> Iterable[str]:
    """A called flow's ends are exits, too; ``next`` is one of them if the author has a use for it."""
    if not isinstance(node, Subflow) or node.reference not in version.subflows:
        return node.possible_exits()
    called = version.subflows[node.reference].flow.nodes.values()
    ends = [end.name for end in called if isinstance(end, End)]
    return [*ends, "next"] if "next" in node.exits or not ends else ends


def measure_coverage(version: FlowVersion, calls: Iterable[Iterable[Exchange]]) -> Coverage:
    """What all the calls together went through, in this flow; flows that it calls have scenarios of their own."""
    taken = dict.fromkeys(all_exits(version), 0)
    for call in calls:
        for way in _exits_taken(call):
            if way in taken:
                taken[way] += 1
    missed = tuple(way for way, times in taken.items() if not times)
    return Coverage({way: times for way, times in taken.items() if times}, missed)


def _exits_taken(call: Iterable[Exchange]) -> Iterator[NodeExit]:
    """The ways of the call's own flow. A called flow's node has been entered with its flow's name."""
    inner = None
    for action in (action for exchange in call for action in exchange.actions if isinstance(action, EmitEvent)):
        node = str(action.data.get("node", ""))
        if action.type == "node.entered":
            inner = node if "flow" in action.data else None
            if inner is None:
                yield node, ""
        elif action.type == "node.left" and node == inner:
            inner = None
        elif action.type == "node.left":
            yield node, str(action.data.get("exit", ""))
