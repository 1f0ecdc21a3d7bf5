"""A document as far as it could be understood: what the checks look at, also when parts of it are broken.

Nodes that could not be converted are still there with their exits and the variables that they set, so that one
mistake does not hide others, nor make up new ones.
"""

from typing import Any

import msgspec

from vocelio.engine.flow import Anywhere, FlowVersion
from vocelio.engine.node import Node
from vocelio.engine.nodes import TYPES
from vocelio.engine.nodes.subflow import Subflow
from vocelio.engine.voice import Voice


class Draft(msgspec.Struct):
    """``nodes`` are those that are whole; ``links`` the exits of all, ``variables`` what is set anywhere."""

    start: str | None
    nodes: dict[str, Node]
    links: dict[str, dict[str, str]]
    waits: dict[str, bool]
    declared: dict[str, Any]
    loose_variables: set[str]
    anywhere: dict[str, Anywhere]
    voice: Voice | None
    subflows: dict[str, FlowVersion]

    @property
    def variables(self) -> set[str]:
        """Every variable that the flow has."""
        return {*self.declared, *self.loose_variables, *(v for node in self.nodes.values() for v in node.variables())}


def draft(raw: dict[str, Any], pieces: dict[str, Any], nodes: dict[str, Node], flows: dict[str, FlowVersion]) -> Draft:
    """From the raw document and what could be converted of it."""
    raw_nodes = raw.get("nodes")
    every: dict[str, Any] = raw_nodes if isinstance(raw_nodes, dict) else {}
    return Draft(
        start=pieces.get("start"),
        nodes=nodes,
        links={name: _links(fields) for name, fields in every.items()},
        waits={name: _waits(name, fields, nodes, flows) for name, fields in every.items()},
        declared=pieces.get("variables", {}),
        loose_variables={v for name, fields in every.items() if name not in nodes for v in _variables(fields)},
        anywhere=pieces.get("anywhere", {}),
        voice=pieces.get("voice"),
        subflows=flows,
    )


def _links(fields: Any) -> dict[str, str]:
    exits = fields.get("exits") if isinstance(fields, dict) else None
    if not isinstance(exits, dict):
        return {}
    return {name: target for name, target in exits.items() if isinstance(target, str)}


def _waits(name: str, fields: Any, nodes: dict[str, Node], flows: dict[str, FlowVersion]) -> bool:
    """Whether the call can wait there; what cannot be told is taken to wait."""
    node = nodes.get(name)
    if isinstance(node, Subflow):
        return node.reference not in flows or waits_within(flows[node.reference])
    if node is not None:
        return node.waits
    kind = TYPES.get(str(fields.get("type"))) if isinstance(fields, dict) else None
    return kind is None or kind.waits or issubclass(kind, Subflow)


def waits_within(version: FlowVersion) -> bool:
    """Whether a flow has any node that waits."""
    return any(node.waits for node in version.flow.nodes.values()) or any(map(waits_within, version.subflows.values()))


def _variables(fields: Any) -> set[str]:
    if not isinstance(fields, dict):
        return set()
    found = {fields["save_as"]} if isinstance(fields.get("save_as"), str) else set()
    for name in ("save", "values", "outputs"):
        if isinstance(fields.get(name), dict):
            found |= set(fields[name])
    return found
