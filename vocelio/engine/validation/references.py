"""Checks of external references: departments, voices and subflows."""

from collections.abc import Iterator

from vocelio.engine.diagnostics import Diagnostics, truncate
from vocelio.engine.flow import MAX_FLOW_DEPTH, FlowVersion, ValidationContext
from vocelio.engine.nodes.end import End
from vocelio.engine.nodes.say import Say
from vocelio.engine.nodes.subflow import Subflow
from vocelio.engine.nodes.voice import ChangeVoice
from vocelio.engine.validation.partial_flow import PartialFlow
from vocelio.engine.voice import Voice


def check_references(flow: PartialFlow, context: ValidationContext, diagnostics: Diagnostics) -> None:
    """Check that everything exists that the flow refers to outside of itself."""
    _check_departments(flow, context, diagnostics)
    for path, voice in _iter_voices(flow):
        _check_voice(voice, path, context, diagnostics)
    for name, node in flow.nodes.items():
        if isinstance(node, Subflow) and not diagnostics.is_full:
            _check_subflow(node, f"nodes.{truncate(name)}", flow, context, diagnostics)


def _check_departments(flow: PartialFlow, context: ValidationContext, diagnostics: Diagnostics) -> None:
    for name, node in flow.nodes.items():
        department = str(getattr(node, "department", ""))
        if context.departments is not None and department and department not in context.departments:
            message = f"there is no department `{truncate(department)}`"
            diagnostics.unknown_word(
                f"nodes.{truncate(name)}.department", "no-such-department", message, department, context.departments
            )


def _iter_voices(flow: PartialFlow) -> Iterator[tuple[str, Voice]]:
    if flow.voice is not None:
        yield "voice", flow.voice
    for name, node in flow.nodes.items():
        path = f"nodes.{truncate(name)}"
        if isinstance(node, Say) and node.voice is not None:
            yield f"{path}.voice", node.voice
        elif isinstance(node, ChangeVoice):
            if node.tier and node.name:
                yield path, Voice(node.tier, node.name)
            for index, voice in enumerate(node.fallbacks or ()):
                yield f"{path}.fallbacks[{index}]", voice


def _check_voice(voice: Voice, path: str, context: ValidationContext, diagnostics: Diagnostics) -> None:
    names = context.voices.get(voice.tier) if context.voices is not None else None
    if voice.tier != "local" and voice.name == Voice().name:
        diagnostics.error(f"{path}.name", "voice-name", f"an {voice.tier} voice needs its `name`")
    elif names is not None and voice.name not in names:
        message = f"tier {voice.tier} has no voice `{truncate(voice.name)}`"
        diagnostics.unknown_word(f"{path}.name", "no-such-voice", message, voice.name, names)
    for index, fallback in enumerate(voice.fallbacks):
        fallback_path = f"{path}.fallbacks[{index}]"
        if fallback.tier == voice.tier or fallback.fallbacks:
            message = "a fallback is a voice of another tier, without fallbacks of its own"
            diagnostics.error(fallback_path, "voice-fallback", message)
        else:
            _check_voice(fallback, fallback_path, context, diagnostics)


# Subflows


def _check_subflow(
    node: Subflow, path: str, flow: PartialFlow, context: ValidationContext, diagnostics: Diagnostics
) -> None:
    if context.flows is None:
        return
    version = flow.subflows.get(node.reference)
    if node.flow == context.flow_name or node.flow in context.calling_flows:
        message = f"`{truncate(node.flow)}` calls this flow: a cycle"
        diagnostics.error(f"{path}.flow", "subflow-cycle", message)
    elif version is None and node.flow in context.broken_flows:
        diagnostics.error(f"{path}.flow", "invalid-subflow", f"the flow `{truncate(node.flow)}` has errors")
    elif version is None:
        message = f"there is no flow `{truncate(node.reference)}`"
        diagnostics.unknown_word(f"{path}.flow", "no-such-flow", message, node.reference, context.flows)
    elif context.flow_name and context.flow_name in called_flow_names(version):
        message = f"`{truncate(node.flow)}` calls `{context.flow_name}`, this flow: a cycle"
        diagnostics.error(f"{path}.flow", "subflow-cycle", message)
    elif flow_depth(version) > MAX_FLOW_DEPTH:
        diagnostics.error(f"{path}.flow", "nested-too-deeply", f"flows call each other more than {MAX_FLOW_DEPTH} deep")
    else:
        _check_subflow_interface(node, version, path, diagnostics)


def _check_subflow_interface(node: Subflow, version: FlowVersion, path: str, diagnostics: Diagnostics) -> None:
    ends = [*dict.fromkeys(n.name for n in version.flow.nodes.values() if isinstance(n, End)), "next"]
    for exit_name in node.exits:
        if exit_name not in ends:
            message = f"the flow `{truncate(node.flow)}` has no end `{truncate(exit_name)}`"
            diagnostics.unknown_word(f"{path}.exits.{truncate(exit_name)}", "no-such-exit", message, exit_name, ends)
    variables = {
        *version.flow.variables,
        *(name for inner in version.flow.nodes.values() for name in inner.assigned_variables()),
    }
    for name in node.inputs:
        if name not in version.flow.variables:
            message = f"the flow `{truncate(node.flow)}` declares no variable `{truncate(name)}`"
            diagnostics.unknown_word(
                f"{path}.inputs.{truncate(name)}", "unknown-variable", message, name, version.flow.variables
            )
    for outer, name in node.outputs.items():
        if name not in variables:
            message = f"the flow `{truncate(node.flow)}` has no variable `{truncate(name)}`"
            diagnostics.unknown_word(f"{path}.outputs.{truncate(outer)}", "unknown-variable", message, name, variables)


def called_flow_names(version: FlowVersion) -> set[str]:
    """Return the names of all flows that a version calls, directly or not."""
    references: set[str] = set()
    queue = [version]
    while queue:
        for reference, called in queue.pop().subflows.items():
            if reference not in references:
                references.add(reference)
                queue.append(called)
    return {reference.split("@", 1)[0] for reference in references}


def flow_depth(version: FlowVersion) -> int:
    """Return the nesting depth of a version's subflows, itself included."""
    return 1 + max(map(flow_depth, version.subflows.values()), default=0)
