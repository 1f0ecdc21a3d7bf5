"""Several flows that may call each other, checked together: each in the order in which they need one another."""

from collections.abc import Mapping
from typing import Any

import msgspec

from vocelio.engine.diagnostics import Diagnostic
from vocelio.engine.flow import EMPTY_CONTEXT, FlowVersion, ValidationContext
from vocelio.engine.validation.loader import MAX_FLOW_BYTES, validate_flow

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
