"""Loader and validator of flow documents: a flow that passes cannot fail on a call.

All diagnostics are reported at once, each with a path, a code, a message and, if possible, a hint. Time and memory are
bounded for any input: the size is limited first, then the numbers of nodes and templates, then that of diagnostics.
"""

from collections.abc import Mapping
from hashlib import sha256
from typing import Any

import msgspec

from vocelio.engine.decoding import INVALID, decode_fields
from vocelio.engine.diagnostics import Diagnostic, Diagnostics, truncate
from vocelio.engine.errors import DocumentError
from vocelio.engine.flow import EMPTY_CONTEXT, Flow, FlowVersion, GlobalCommand, ValidationContext
from vocelio.engine.node import Node
from vocelio.engine.nodes import NODE_TYPES
from vocelio.engine.nodes.subflow import Subflow
from vocelio.engine.validation.graph import check_graph
from vocelio.engine.validation.names import MAX_NAME_LENGTH, NAME_PATTERN, check_names
from vocelio.engine.validation.partial_flow import build_partial_flow
from vocelio.engine.validation.references import check_references

MAX_FLOW_BYTES = 500_000  # of JSON: real flows have at most a few hundred nodes, a fifth of this
MAX_NODES = 2_000
MAX_FLOW_TEMPLATE_TAGS = 8_000  # Liquid tags, outputs and conditions: compiling as many takes about a second

_TAG_MARKERS = (b"{{", b"{%", b'"when"', b"\\u006", b"\\u007")  # including JSON escapes of these characters

__all__ = ("Flow", "FlowVersion", "GlobalCommand", "ValidationContext", "load_flow", "validate_flow")


def load_flow(document: bytes, context: ValidationContext = EMPTY_CONTEXT) -> FlowVersion:
    """Load a flow version. Raises DocumentError with all diagnostics."""
    version, diagnostics = validate_flow(document, context)
    if version is None:
        raise DocumentError(diagnostics)
    return version


def validate_flow(
    document: bytes, context: ValidationContext = EMPTY_CONTEXT
) -> tuple[FlowVersion | None, list[Diagnostic]]:
    """Return the version, or None if there are errors, and all diagnostics sorted by path."""
    diagnostics = Diagnostics()
    raw = _parse_document(document, diagnostics)
    if raw is None:
        return None, diagnostics.by_path
    fields = decode_fields(Flow, raw, "", diagnostics, "a flow", skipped_field="nodes")
    nodes = _decode_nodes(raw, diagnostics)
    subflows = _resolve_subflows(nodes, context.flows or {})
    partial_flow = build_partial_flow(raw, fields, nodes, subflows)
    check_graph(partial_flow, diagnostics)
    check_names(partial_flow, diagnostics)
    check_references(partial_flow, context, diagnostics)
    if diagnostics.has_errors:
        return None, diagnostics.by_path
    return FlowVersion(_version_id(document, subflows), Flow(nodes=nodes, **fields), subflows), diagnostics.by_path


def _version_id(document: bytes, subflows: Mapping[str, FlowVersion]) -> str:
    digest = sha256(document)
    for name, version in sorted(subflows.items()):
        digest.update(f"\0{name}\0{version.id}".encode())
    return digest.hexdigest()[:16]


def _resolve_subflows(nodes: Mapping[str, Node], flows: Mapping[str, FlowVersion]) -> dict[str, FlowVersion]:
    references = {node.reference: None for node in nodes.values() if isinstance(node, Subflow)}
    return {reference: flows[reference] for reference in references if reference in flows}


def _parse_document(document: bytes, diagnostics: Diagnostics) -> dict[str, Any] | None:
    if len(document) > MAX_FLOW_BYTES:
        diagnostics.error("", "too-large", f"a flow has at most {MAX_FLOW_BYTES:,} bytes, this one {len(document):,}")
        return None
    if sum(map(document.count, _TAG_MARKERS)) > MAX_FLOW_TEMPLATE_TAGS:
        diagnostics.error(
            "", "too-large", f"a flow has at most {MAX_FLOW_TEMPLATE_TAGS:,} tags, values and conditions in its texts"
        )
        return None
    try:
        raw = msgspec.json.decode(document)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        diagnostics.error("", "invalid-json", f"not JSON: {error}")
        return None
    if not isinstance(raw, dict):
        diagnostics.error("", "invalid-json", "a flow is a JSON object")
        return None
    raw.pop("$schema", None)  # for editors
    return raw


def _decode_nodes(raw: Mapping[str, Any], diagnostics: Diagnostics) -> dict[str, Node]:
    if "nodes" not in raw:
        diagnostics.error("nodes", "missing-field", "a flow needs `nodes`")
        return {}
    raw_nodes = raw["nodes"]
    if not isinstance(raw_nodes, dict) or not raw_nodes:
        diagnostics.error("nodes", "invalid-value", "`nodes` is an object with at least one node")
        return {}
    if len(raw_nodes) > MAX_NODES:
        diagnostics.error("nodes", "too-many", f"a flow has at most {MAX_NODES:,} nodes, not {len(raw_nodes):,}")
        return {}
    nodes = {
        name: _decode_node(name, raw_node, diagnostics)
        for name, raw_node in raw_nodes.items()
        if not diagnostics.is_full
    }
    return {name: node for name, node in nodes.items() if node is not None}


def _decode_node(name: str, raw: Any, diagnostics: Diagnostics) -> Node | None:
    path = f"nodes.{truncate(name)}"
    if not NAME_PATTERN.match(name) or len(name) > MAX_NAME_LENGTH:
        message = f"a node's name has letters, digits and _, at most {MAX_NAME_LENGTH}, and begins with no digit"
        diagnostics.error(path, "node-name", message)
    if not isinstance(raw, dict):
        diagnostics.error(path, "invalid-value", "a node is an object")
        return None
    if "type" not in raw:
        diagnostics.error(f"{path}.type", "missing-field", "a node needs `type`")
        return None
    type_name = str(raw["type"])
    node_type = NODE_TYPES.get(type_name)
    if node_type is None:
        diagnostics.unknown_word(
            f"{path}.type", "node-type", f"there is no node type `{truncate(type_name)}`", type_name, NODE_TYPES
        )
        return None
    raw_fields = {key: value for key, value in raw.items() if key != "type"}
    fields = decode_fields(node_type, raw_fields, path, diagnostics, f"a {node_type.type} node")
    if fields is INVALID:
        return None
    node = node_type(**fields)
    diagnostics.extend(node.diagnostics(path))
    return node


ValidationResults = dict[str, tuple[FlowVersion | None, list[Diagnostic]]]


def validate_all(documents: Mapping[str, bytes], context: ValidationContext = EMPTY_CONTEXT) -> ValidationResults:
    """Validate flows that may call each other by their names, each after those that it calls.

    ``context.flows`` are further versions, such as ``name@3``. Every flow of a call cycle has an error.
    """
    calls = {name: _called_flows(document) & documents.keys() for name, document in documents.items()}
    reachable = {name: _reachable_flows(name, calls) for name in documents}
    versions, results = dict(context.flows or {}), ValidationResults()
    broken: set[str] = set()
    for name in sorted(documents, key=lambda name: (len(reachable[name]), name)):
        callers = {caller for caller in documents if name in reachable[caller]}
        version, diagnostics = validate_flow(documents[name], _context_for(context, versions, name, callers, broken))
        results[name] = version, diagnostics
        if version is None:
            broken.add(name)
        else:
            versions[name] = version
    return {name: results[name] for name in documents}


def _context_for(
    context: ValidationContext,
    versions: dict[str, FlowVersion],
    name: str,
    calling_flows: set[str],
    broken_flows: set[str],
) -> ValidationContext:
    return msgspec.structs.replace(
        context, flows=dict(versions), flow_name=name, calling_flows=calling_flows, broken_flows=frozenset(broken_flows)
    )


def _called_flows(document: bytes) -> set[str]:
    """Return the names of flows whose newest version a document calls; empty if it cannot be parsed."""
    try:
        raw = msgspec.json.decode(document) if len(document) <= MAX_FLOW_BYTES else None
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return set()
    nodes: Any = raw.get("nodes") if isinstance(raw, dict) else None
    return {
        str(node.get("flow"))
        for node in (nodes.values() if isinstance(nodes, dict) else ())
        if isinstance(node, dict) and node.get("type") == "subflow" and not node.get("version")
    }


def _reachable_flows(name: str, calls: Mapping[str, set[str]]) -> set[str]:
    """Return the flows that this one calls, directly or not; itself included if there is a cycle."""
    reached: set[str] = set()
    queue = [*calls[name]]
    while queue:
        called = queue.pop()
        if called not in reached:
            reached.add(called)
            queue.extend(calls[called])
    return reached
