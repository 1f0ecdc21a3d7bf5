"""Checks against the place where a flow is to run: departments, voices, other flows."""

from collections.abc import Iterator

from vocelio.engine.diagnostics import Report, short
from vocelio.engine.flow import MAX_NESTING, FlowVersion, Known
from vocelio.engine.nodes.end import End
from vocelio.engine.nodes.say import Say
from vocelio.engine.nodes.subflow import Subflow
from vocelio.engine.nodes.voice import ChangeVoice
from vocelio.engine.validation.partial_flow import Draft
from vocelio.engine.voice import Voice


def check_surroundings(draft: Draft, known: Known, report: Report) -> None:
    """What the flow names and does not have itself."""
    _departments(draft, known, report)
    for path, voice in _voices(draft):
        _voice(voice, path, known, report)
    for name, node in draft.nodes.items():
        if isinstance(node, Subflow) and not report.full:
            _subflow(node, f"nodes.{short(name)}", draft, known, report)


def _departments(draft: Draft, known: Known, report: Report) -> None:
    for name, node in draft.nodes.items():
        department = str(getattr(node, "department", ""))
        if known.departments is not None and department and department not in known.departments:
            message = f"there is no department `{short(department)}`"
            report.unknown(
                f"nodes.{short(name)}.department", "no-such-department", message, department, known.departments
            )


def _voices(draft: Draft) -> Iterator[tuple[str, Voice]]:
    if draft.voice is not None:
        yield "voice", draft.voice
    for name, node in draft.nodes.items():
        path = f"nodes.{short(name)}"
        if isinstance(node, Say) and node.voice is not None:
            yield f"{path}.voice", node.voice
        elif isinstance(node, ChangeVoice):
            if node.tier and node.name:
                yield path, Voice(node.tier, node.name)
            for place, voice in enumerate(node.fallbacks or ()):
                yield f"{path}.fallbacks[{place}]", voice


def _voice(voice: Voice, path: str, known: Known, report: Report) -> None:
    names = known.voices.get(voice.tier) if known.voices is not None else None
    if voice.tier != "local" and voice.name == Voice().name:
        report.error(f"{path}.name", "voice-name", f"an {voice.tier} voice needs its `name`")
    elif names is not None and voice.name not in names:
        message = f"tier {voice.tier} has no voice `{short(voice.name)}`"
        report.unknown(f"{path}.name", "no-such-voice", message, voice.name, names)
    for place, fallback in enumerate(voice.fallbacks):
        where = f"{path}.fallbacks[{place}]"
        if fallback.tier == voice.tier or fallback.fallbacks:
            report.error(where, "voice-fallback", "a fallback is a voice of another tier and has none of its own")
        else:
            _voice(fallback, where, known, report)


# Flows within flows


def _subflow(node: Subflow, path: str, draft: Draft, known: Known, report: Report) -> None:
    if known.flows is None:
        return
    version = draft.subflows.get(node.reference)
    if node.flow == known.name or node.flow in known.callers:
        message = f"`{short(node.flow)}` calls this flow, which would call it again"
        report.error(f"{path}.flow", "subflow-circle", message)
    elif version is None and node.flow in known.broken:
        report.error(f"{path}.flow", "broken-flow", f"the flow `{short(node.flow)}` has errors itself")
    elif version is None:
        message = f"there is no flow `{short(node.reference)}`"
        report.unknown(f"{path}.flow", "no-such-flow", message, node.reference, known.flows)
    elif known.name and known.name in references(version):
        message = f"`{short(node.flow)}` calls `{known.name}`, this flow, which would call it again"
        report.error(f"{path}.flow", "subflow-circle", message)
    elif nesting(version) > MAX_NESTING:
        report.error(f"{path}.flow", "nested-too-deeply", f"flows call each other more than {MAX_NESTING} deep")
    else:
        _interface(node, version, path, report)


def _interface(node: Subflow, version: FlowVersion, path: str, report: Report) -> None:
    ends = [*dict.fromkeys(n.name for n in version.flow.nodes.values() if isinstance(n, End)), "next"]
    for exit_name in node.exits:
        if exit_name not in ends:
            message = f"the flow `{short(node.flow)}` never ends by `{short(exit_name)}`"
            report.unknown(f"{path}.exits.{short(exit_name)}", "no-such-exit", message, exit_name, ends)
    inner = {*version.flow.variables, *(v for n in version.flow.nodes.values() for v in n.variables())}
    for name in node.inputs:
        if name not in version.flow.variables:
            message = f"the flow `{short(node.flow)}` declares no variable `{short(name)}`"
            report.unknown(f"{path}.inputs.{short(name)}", "unknown-variable", message, name, version.flow.variables)
    for outer, name in node.outputs.items():
        if name not in inner:
            message = f"the flow `{short(node.flow)}` has no variable `{short(name)}`"
            report.unknown(f"{path}.outputs.{short(outer)}", "unknown-variable", message, name, inner)


def references(version: FlowVersion) -> set[str]:
    """The names of all flows that a version calls, or that those call."""
    found: set[str] = set()
    ahead = [version]
    while ahead:
        for name, called in ahead.pop().subflows.items():
            if name not in found:
                found.add(name)
                ahead.append(called)
    return {name.split("@", 1)[0] for name in found}


def nesting(version: FlowVersion) -> int:
    """How many flows deep a version goes, itself included."""
    return 1 + max(map(nesting, version.subflows.values()), default=0)
