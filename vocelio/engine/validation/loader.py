"""The flow document: read, converted and checked, so that no flow reaches a caller that could fail there.

Every problem is found at once, each with its path, a code, a sentence and, where possible, a mend. Whatever the
document is, the answer comes in bounded time and memory: its size is limited first, then the numbers of its
parts, then of the problems told.
"""

from collections.abc import Mapping
from hashlib import sha256
from typing import Any

import msgspec

from vocelio.engine.decoding import INVALID, fields
from vocelio.engine.diagnostics import Problem, Report, short
from vocelio.engine.errors import DocumentError
from vocelio.engine.flow import NOTHING_KNOWN, Anywhere, Flow, FlowVersion, Known
from vocelio.engine.node import Node
from vocelio.engine.nodes import TYPES
from vocelio.engine.nodes.subflow import Subflow
from vocelio.engine.validation.graph import check_wiring
from vocelio.engine.validation.names import MAX_NAME, NAME, check_names
from vocelio.engine.validation.partial_flow import draft
from vocelio.engine.validation.references import check_surroundings

MAX_BYTES = 500_000  # of JSON: the longest real flows have a few hundred nodes, a fifth of this
MAX_NODES = 2_000
MAX_MARKS = 8_000  # tags and values of all texts, and conditions: to compile so many takes about a second

_MARKS = (b"{{", b"{%", b'"when"', b"\\u006", b"\\u007")  # written with escapes, they are no fewer

__all__ = ("Anywhere", "Flow", "FlowVersion", "Known", "check", "load")


def load(document: bytes, known: Known = NOTHING_KNOWN) -> FlowVersion:
    """A version from JSON. Raises DocumentError with every problem found."""
    version, problems = check(document, known)
    if version is None:
        raise DocumentError(problems)
    return version


def check(document: bytes, known: Known = NOTHING_KNOWN) -> tuple[FlowVersion | None, list[Problem]]:
    """The version, if the document has no errors, and everything that was found."""
    report = Report()
    raw = _read(document, report)
    if raw is None:
        return None, report.problems
    pieces = fields(Flow, raw, "", report, "a flow", skip="nodes")
    nodes = _nodes(raw, report)
    subflows = _pinned(nodes, known.flows or {})
    parts = draft(raw, pieces, nodes, subflows)
    for look in (check_wiring, check_names):
        look(parts, report)
    check_surroundings(parts, known, report)
    if report.failed:
        return None, report.problems
    return FlowVersion(_id(document, subflows), Flow(nodes=nodes, **pieces), subflows), report.problems


def _id(document: bytes, subflows: Mapping[str, FlowVersion]) -> str:
    digest = sha256(document)
    for name, version in sorted(subflows.items()):
        digest.update(f"\0{name}\0{version.id}".encode())
    return digest.hexdigest()[:16]


def _pinned(nodes: Mapping[str, Node], flows: Mapping[str, FlowVersion]) -> dict[str, FlowVersion]:
    references = {node.reference: None for node in nodes.values() if isinstance(node, Subflow)}
    return {reference: flows[reference] for reference in references if reference in flows}


def _read(document: bytes, report: Report) -> dict[str, Any] | None:
    if len(document) > MAX_BYTES:
        report.error("", "too-large", f"a flow has at most {MAX_BYTES:,} bytes, this one {len(document):,}")
        return None
    if sum(map(document.count, _MARKS)) > MAX_MARKS:
        report.error("", "too-large", f"a flow has at most {MAX_MARKS:,} tags, values and conditions in its texts")
        return None
    try:
        raw = msgspec.json.decode(document)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        report.error("", "json", f"not JSON: {error}")
        return None
    if not isinstance(raw, dict):
        report.error("", "json", "a flow is a JSON object")
        return None
    raw.pop("$schema", None)  # by which editors find the schema
    return raw


def _nodes(raw: Mapping[str, Any], report: Report) -> dict[str, Node]:
    if "nodes" not in raw:
        report.error("nodes", "missing", "a flow needs `nodes`")
        return {}
    every = raw["nodes"]
    if not isinstance(every, dict) or not every:
        report.error("nodes", "value", "`nodes` is an object with at least one node")
        return {}
    if len(every) > MAX_NODES:
        report.error("nodes", "too-many", f"a flow has at most {MAX_NODES:,} nodes, not {len(every):,}")
        return {}
    nodes = {name: _node(name, written, report) for name, written in every.items() if not report.full}
    return {name: node for name, node in nodes.items() if node is not None}


def _node(name: str, raw: Any, report: Report) -> Node | None:
    path = f"nodes.{short(name)}"
    if not NAME.match(name) or len(name) > MAX_NAME:
        message = f"a node's name has letters, digits and _, at most {MAX_NAME}, and begins with no digit"
        report.error(path, "node-name", message)
    if not isinstance(raw, dict):
        report.error(path, "value", "a node is an object")
        return None
    if "type" not in raw:
        report.error(f"{path}.type", "missing", "a node needs `type`")
        return None
    type_name = str(raw["type"])
    kind = TYPES.get(type_name)
    if kind is None:
        report.unknown(f"{path}.type", "node-type", f"there is no node type `{short(type_name)}`", type_name, TYPES)
        return None
    rest = {key: value for key, value in raw.items() if key != "type"}
    pieces = fields(kind, rest, path, report, f"a {kind.type} node")
    if pieces is INVALID:
        return None
    node = kind(**pieces)
    report.extend(node.problems(path))
    return node
