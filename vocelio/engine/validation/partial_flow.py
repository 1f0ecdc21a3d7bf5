"""A flow document as far as it could be decoded, so that the other checks run on broken documents, too.

Nodes that could not be decoded keep their exits and the variables that they set: one error neither hides others nor
causes false ones.
"""

from typing import Any

import msgspec

from vocelio.engine.flow import FlowVersion, GlobalCommand
from vocelio.engine.node import Node
from vocelio.engine.nodes import NODE_TYPES
from vocelio.engine.nodes.subflow import Subflow
from vocelio.engine.voice import Voice


class PartialFlow(msgspec.Struct):
    """``nodes`` are the decoded nodes; ``exits_by_node`` and ``waits_by_node`` contain all."""

    start: str | None
    nodes: dict[str, Node]
    exits_by_node: dict[str, dict[str, str]]
    waits_by_node: dict[str, bool]
    declared_variables: dict[str, Any]
    unparsed_variables: set[str]
    global_commands: dict[str, GlobalCommand]
    voice: Voice | None
    subflows: dict[str, FlowVersion]

    @property
    def all_variables(self) -> set[str]:
        """Every declared or assigned variable."""
        return {
            *self.declared_variables,
            *self.unparsed_variables,
            *(v for node in self.nodes.values() for v in node.assigned_variables()),
        }


def build_partial_flow(
    raw: dict[str, Any], decoded_fields: dict[str, Any], nodes: dict[str, Node], subflows: dict[str, FlowVersion]
) -> PartialFlow:
    """Combine the raw document with the parts that could be decoded."""
    raw_nodes = raw.get("nodes")
    raw_by_name: dict[str, Any] = raw_nodes if isinstance(raw_nodes, dict) else {}
    return PartialFlow(
        start=decoded_fields.get("start"),
        nodes=nodes,
        exits_by_node={name: _raw_exits(fields) for name, fields in raw_by_name.items()},
        waits_by_node={name: _node_waits(name, fields, nodes, subflows) for name, fields in raw_by_name.items()},
        declared_variables=decoded_fields.get("variables", {}),
        unparsed_variables={
            v for name, fields in raw_by_name.items() if name not in nodes for v in _raw_variables(fields)
        },
        global_commands=decoded_fields.get("anywhere", {}),
        voice=decoded_fields.get("voice"),
        subflows=subflows,
    )


def _raw_exits(raw_node: Any) -> dict[str, str]:
    exits = raw_node.get("exits") if isinstance(raw_node, dict) else None
    if not isinstance(exits, dict):
        return {}
    return {name: target for name, target in exits.items() if isinstance(target, str)}


def _node_waits(name: str, raw_node: Any, nodes: dict[str, Node], subflows: dict[str, FlowVersion]) -> bool:
    """Whether a call can wait at the node; if this is unknown, it is assumed to."""
    node = nodes.get(name)
    if isinstance(node, Subflow):
        return node.reference not in subflows or has_waiting_node(subflows[node.reference])
    if node is not None:
        return node.waits
    node_type = NODE_TYPES.get(str(raw_node.get("type"))) if isinstance(raw_node, dict) else None
    return node_type is None or node_type.waits or issubclass(node_type, Subflow)


def has_waiting_node(version: FlowVersion) -> bool:
    """Whether the flow or a subflow has a node that waits."""
    return any(node.waits for node in version.flow.nodes.values()) or any(
        map(has_waiting_node, version.subflows.values())
    )


def _raw_variables(raw_node: Any) -> set[str]:
    if not isinstance(raw_node, dict):
        return set()
    variables = {raw_node["save_as"]} if isinstance(raw_node.get("save_as"), str) else set()
    for name in ("save", "values", "outputs"):
        if isinstance(raw_node.get(name), dict):
            variables |= set(raw_node[name])
    return variables
