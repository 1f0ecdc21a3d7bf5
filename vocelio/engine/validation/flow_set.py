"""Several flows that may call each other, checked together: each in the order in which they need one another."""

from collections.abc import Mapping
from typing import Any

import msgspec

from vocelio.engine.diagnostics import Problem
from vocelio.engine.flow import NOTHING_KNOWN, FlowVersion, Known
from vocelio.engine.validation.loader import MAX_BYTES, check

Checked = dict[str, tuple[FlowVersion | None, list[Problem]]]


def check_all(documents: Mapping[str, bytes], known: Known = NOTHING_KNOWN) -> Checked:
    """Each document by its name, checked; what other flows are called is what they are called here.

    ``known.flows`` are further versions, such as ``name@3``. Flows that call each other in a circle all have errors.
    """
    calls = {name: _called(document) & documents.keys() for name, document in documents.items()}
    reach = {name: _reach(name, calls) for name in documents}
    versions, checked = dict(known.flows or {}), Checked()
    broken: set[str] = set()
    for name in sorted(documents, key=lambda name: (len(reach[name]), name)):
        callers = {other for other in documents if name in reach[other]}
        version, problems = check(documents[name], _known(known, versions, name, callers, broken))
        checked[name] = version, problems
        if version is None:
            broken.add(name)
        else:
            versions[name] = version
    return {name: checked[name] for name in documents}


def _known(known: Known, versions: dict[str, FlowVersion], name: str, callers: set[str], broken: set[str]) -> Known:
    return msgspec.structs.replace(known, flows=dict(versions), name=name, callers=callers, broken=frozenset(broken))


def _called(document: bytes) -> set[str]:
    """The newest versions that a document calls, as far as it can be read."""
    try:
        raw = msgspec.json.decode(document) if len(document) <= MAX_BYTES else None
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return set()
    nodes: Any = raw.get("nodes") if isinstance(raw, dict) else None
    every = nodes.values() if isinstance(nodes, dict) else ()
    return {
        str(n.get("flow")) for n in every if isinstance(n, dict) and n.get("type") == "subflow" and not n.get("version")
    }


def _reach(name: str, calls: Mapping[str, set[str]]) -> set[str]:
    """Every flow that is called from this one, or from one that it calls; itself, if there is a circle."""
    reached: set[str] = set()
    ahead = [*calls[name]]
    while ahead:
        called = ahead.pop()
        if called not in reached:
            reached.add(called)
            ahead.extend(calls[called])
    return reached
