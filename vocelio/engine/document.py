"""The flow document: parsed piece by piece, so that every problem is found at once and has its path.

msgspec stops at the first error of what it converts and does not name a dictionary's key; so the document is
taken apart here and converted field by field.
"""

import re
from collections.abc import Iterator
from hashlib import sha256
from typing import Annotated, Any, get_type_hints

import msgspec
from msgspec import Meta

from vocelio.engine import templates
from vocelio.engine.errors import DocumentError
from vocelio.engine.node import Node
from vocelio.engine.nodes import TYPES
from vocelio.engine.problems import Problem, did_you_mean
from vocelio.engine.voice import Voice

MAX_BYTES = 1_000_000  # of JSON: the longest real flows have a few hundred nodes, a tenth of this
MAX_NODES = 2_000
MAX_NAME = 64
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")  # so that templates can name a node's result


class Flow(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A flow that can be run. ``max_seconds`` ends every call, however the nodes are wired."""

    name: Annotated[str, Meta(min_length=1, max_length=200)]
    start: str
    nodes: dict[str, Node]
    voice: Voice = Voice()
    variables: dict[str, Any] = {}
    max_seconds: Annotated[int, Meta(ge=1, le=14_400)] = 3_600
    layout: dict[str, tuple[float, float]] = {}


class FlowVersion(msgspec.Struct, frozen=True):
    """A flow as calls run it; ``id`` is made from its content, so that a checkpoint knows its own."""

    id: str
    flow: Flow


def load(document: bytes) -> FlowVersion:
    """A version from JSON. Raises DocumentError with every problem found."""
    version, problems = check(document)
    if version is None:
        raise DocumentError(problems)
    return version


def check(document: bytes) -> tuple[FlowVersion | None, list[Problem]]:
    """The version, if the document has no errors, and everything that was found."""
    raw, problems = _read(document)
    if raw is None:
        return None, problems
    pieces: dict[str, Any] = {}
    for field in msgspec.structs.fields(Flow):
        if field.name in raw:
            if field.name == "nodes":
                pieces["nodes"] = _nodes(raw["nodes"], problems)
            else:
                _convert(pieces, field.name, raw[field.name], _HINTS[field.name], field.name, problems)
        elif field.required:
            problems.append(Problem(field.name, "missing", f"a flow needs `{field.name}`"))
    _unknown_fields(raw, _HINTS, "", problems)
    if not problems:
        flow = Flow(**pieces)
        problems.extend(_wiring(flow))
    if any(problem.severity == "error" for problem in problems):
        return None, sorted(problems)
    return FlowVersion(sha256(document).hexdigest()[:16], flow), sorted(problems)


_HINTS = get_type_hints(Flow, include_extras=True)


def _read(document: bytes) -> tuple[dict[str, Any] | None, list[Problem]]:
    if len(document) > MAX_BYTES:
        message = f"a flow has at most {MAX_BYTES:,} bytes, this one {len(document):,}"
        return None, [Problem("", "too-large", message)]
    try:
        raw = msgspec.json.decode(document)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        return None, [Problem("", "json", f"not JSON: {error}")]
    if not isinstance(raw, dict):
        return None, [Problem("", "json", "a flow is a JSON object")]
    return raw, []


def _nodes(raw: Any, problems: list[Problem]) -> dict[str, Node]:
    if not isinstance(raw, dict) or not raw:
        problems.append(Problem("nodes", "type", "`nodes` is an object with at least one node"))
        return {}
    if len(raw) > MAX_NODES:
        problems.append(Problem("nodes", "too-many", f"a flow has at most {MAX_NODES:,} nodes, not {len(raw):,}"))
        return {}
    nodes = {name: _node(name, fields, problems) for name, fields in raw.items()}
    return {name: node for name, node in nodes.items() if node is not None}


def _node(name: str, fields: Any, problems: list[Problem]) -> Node | None:
    path = f"nodes.{name[:MAX_NAME]}"
    if not NAME.match(name) or len(name) > MAX_NAME:
        message = f"a node's name has letters, digits and _, at most {MAX_NAME}, and begins with a letter"
        problems.append(Problem(path, "node-name", message))
    if not isinstance(fields, dict):
        problems.append(Problem(path, "type", "a node is an object"))
        return None
    type_name = str(fields.get("type", ""))[:MAX_NAME]
    kind = TYPES.get(type_name)
    if kind is None:
        message = f"there is no node type `{type_name}`"
        problems.append(Problem(f"{path}.type", "node-type", message, did_you_mean(type_name, TYPES)))
        return None
    return _fields(kind, {key: value for key, value in fields.items() if key != "type"}, path, problems)


def _fields(kind: type[Node], raw: dict[str, Any], path: str, problems: list[Problem]) -> Node | None:
    before, pieces = len(problems), dict[str, Any]()
    hints = get_type_hints(kind, include_extras=True)
    known = {field.name: hints[field.name] for field in msgspec.structs.fields(kind)}
    for field in msgspec.structs.fields(kind):
        if field.name in raw:
            where = f"{path}.{field.name}"
            _convert(pieces, field.name, raw[field.name], known[field.name], where, problems)
        elif field.required:
            message = f"a {kind.type} node needs `{field.name}`"
            problems.append(Problem(f"{path}.{field.name}", "missing", message))
    _unknown_fields(raw, known, f"{path}.", problems)
    if len(problems) > before:
        return None
    node = kind(**pieces)
    problems.extend(node.problems(path))
    return node


def _convert(pieces: dict[str, Any], name: str, value: Any, hint: Any, path: str, problems: list[Problem]) -> None:
    try:
        pieces[name] = msgspec.convert(value, hint, dec_hook=templates.decode)
    except (msgspec.ValidationError, RecursionError) as error:
        message, _, place = str(error).partition(" - at `")
        deeper = place.rstrip("`").removeprefix("$").replace("[...]", ".*")
        problems.append(Problem(path + deeper, "value", message))


def _unknown_fields(raw: dict[str, Any], known: dict[str, Any], path: str, problems: list[Problem]) -> None:
    for name in raw:
        if name not in known and not (path == "" and name == "nodes"):
            short = name[:MAX_NAME]
            message = f"there is no field `{short}` here"
            problems.append(Problem(path + short, "unknown-field", message, did_you_mean(short, known)))


def _wiring(flow: Flow) -> Iterator[Problem]:
    if flow.start not in flow.nodes:
        message = f"`start` names a node that does not exist: `{flow.start[:MAX_NAME]}`"
        yield Problem("start", "no-such-node", message, did_you_mean(flow.start[:MAX_NAME], flow.nodes))
    for name, node in flow.nodes.items():
        ways_out = node.ways_out()
        for exit_name, target in node.exits.items():
            path = f"nodes.{name}.exits.{exit_name[:MAX_NAME]}"
            if exit_name not in ways_out:
                message = f"this {node.type} node never leaves by `{exit_name[:MAX_NAME]}`"
                yield Problem(path, "no-such-exit", message, did_you_mean(exit_name[:MAX_NAME], ways_out))
            if target not in flow.nodes:
                message = f"leads to a node that does not exist: `{target[:MAX_NAME]}`"
                yield Problem(path, "no-such-node", message, did_you_mean(target[:MAX_NAME], flow.nodes))
