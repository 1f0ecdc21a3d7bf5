"""The flow document: read, converted and checked, so that no flow reaches a caller that could fail there.

Every problem is found at once, each with its path, a code, a sentence and, where possible, a mend. Whatever the
document is, the answer comes in bounded time and memory: its size is limited first, then the numbers of its
parts, then of the problems told.

Several flows that may call each other, checked together: each in the order in which they need one another.
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

MAX_FLOW_BYTES = 500_000  # of JSON: the longest real flows have a few hundred nodes, a fifth of this
MAX_NODES = 2_000
MAX_FLOW_TEMPLATE_TAGS = 8_000  # tags and values of all texts, and conditions: to compile so many takes about a second

_TAG_MARKERS = (b"{{", b"{%", b'"when"', b"\\u006", b"\\u007")  # written with escapes, they are no fewer

__all__ = ("Flow", "FlowVersion", "GlobalCommand", "ValidationContext", "load_flow", "validate_flow")


def load_flow(document: bytes, context: ValidationContext = EMPTY_CONTEXT) -> FlowVersion:
    """A version from JSON. Raises DocumentError with every problem found."""
    version, problems = validate_flow(document, context)
    if version is None:
        raise DocumentError(problems)
    return version


def validate_flow(
    document: bytes, context: ValidationContext = EMPTY_CONTEXT
) -> tuple[FlowVersion | None, list[Diagnostic]]:
    """The version, if the document has no errors, and everything that was found."""
    report = Diagnostics()
    raw = _parse_document(document, report)
    if raw is None:
        return None, report.by_path
    pieces = decode_fields(Flow, raw, "", report, "a flow", skipped_field="nodes")
    nodes = _decode_nodes(raw, report)
    subflows = _resolve_subflows(nodes, context.flows or {})
    parts = build_partial_flow(raw, pieces, nodes, subflows)
    for look in (check_graph, check_names):
        look(parts, report)
    check_references(parts, context, report)
    if report.has_errors:
        return None, report.by_path
    return FlowVersion(_version_id(document, subflows), Flow(nodes=nodes, **pieces), subflows), report.by_path


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
    raw.pop("$schema", None)  # by which editors find the schema
    return raw


def _decode_nodes(raw: Mapping[str, Any], diagnostics: Diagnostics) -> dict[str, Node]:
    if "nodes" not in raw:
        diagnostics.error("nodes", "missing-field", "a flow needs `nodes`")
        return {}
    every = raw["nodes"]
    if not isinstance(every, dict) or not every:
        diagnostics.error("nodes", "invalid-value", "`nodes` is an object with at least one node")
        return {}
    if len(every) > MAX_NODES:
        diagnostics.error("nodes", "too-many", f"a flow has at most {MAX_NODES:,} nodes, not {len(every):,}")
        return {}
    nodes = {
        name: _decode_node(name, written, diagnostics) for name, written in every.items() if not diagnostics.is_full
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
    kind = NODE_TYPES.get(type_name)
    if kind is None:
        diagnostics.unknown_word(
            f"{path}.type", "node-type", f"there is no node type `{truncate(type_name)}`", type_name, NODE_TYPES
        )
        return None
    rest = {key: value for key, value in raw.items() if key != "type"}
    pieces = decode_fields(kind, rest, path, diagnostics, f"a {kind.type} node")
    if pieces is INVALID:
        return None
    node = kind(**pieces)
    diagnostics.extend(node.diagnostics(path))
    return node


ValidationResults = dict[str, tuple[FlowVersion | None, list[Diagnostic]]]


def validate_all(documents: Mapping[str, bytes], context: ValidationContext = EMPTY_CONTEXT) -> ValidationResults:
    """Each document by its name, checked; what other flows are called is what they are called here.

    ``known.flows`` are further versions, such as ``name@3``. Flows that call each other in a circle all have errors.
    """
    calls = {name: _called_flows(document) & documents.keys() for name, document in documents.items()}
    reach = {name: _reachable_flows(name, calls) for name in documents}
    versions, checked = dict(context.flows or {}), ValidationResults()
    broken: set[str] = set()
    for name in sorted(documents, key=lambda name: (len(reach[name]), name)):
        callers = {other for other in documents if name in reach[other]}
        version, problems = validate_flow(documents[name], _context_for(context, versions, name, callers, broken))
        checked[name] = version, problems
        if version is None:
            broken.add(name)
        else:
            versions[name] = version
    return {name: checked[name] for name in documents}


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
    """The newest versions that a document calls, as far as it can be read."""
    try:
        raw = msgspec.json.decode(document) if len(document) <= MAX_FLOW_BYTES else None
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return set()
    nodes: Any = raw.get("nodes") if isinstance(raw, dict) else None
    every = nodes.values() if isinstance(nodes, dict) else ()
    return {
        str(n.get("flow")) for n in every if isinstance(n, dict) and n.get("type") == "subflow" and not n.get("version")
    }


def _reachable_flows(name: str, calls: Mapping[str, set[str]]) -> set[str]:
    """Every flow that is called from this one, or from one that it calls; itself, if there is a circle."""
    reached: set[str] = set()
    ahead = [*calls[name]]
    while ahead:
        called = ahead.pop()
        if called not in reached:
            reached.add(called)
            ahead.extend(calls[called])
    return reached
