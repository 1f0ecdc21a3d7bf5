"""Forward data-flow analysis of a flow: which nodes calls can reach, with which voices and known variable values.

Abstract interpretation from the start node along every exit until a fixed point; states only grow, so it terminates. A
variable is known at a node if every write that reaches it has one of a few values: a choice, a literal, or a value of
the tenant. Sensitive input is never known. Jumps by operators are not analyzed.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import msgspec

from vocelio.engine.flow import REPEAT_TARGET, FlowVersion
from vocelio.engine.node import Node
from vocelio.engine.nodes.collect import Collect
from vocelio.engine.nodes.end import End
from vocelio.engine.nodes.record import Record
from vocelio.engine.nodes.request import Request
from vocelio.engine.nodes.set import Set
from vocelio.engine.nodes.subflow import Subflow
from vocelio.engine.nodes.voice import ChangeVoice
from vocelio.engine.prompts.expansion import MAX_EXPANDED_TEXTS, VariablePath
from vocelio.engine.templating.template import RenderError, TemplateValue
from vocelio.engine.voice import Voice

MAX_VOICES_PER_NODE = 20  # more languages than any phone line has
MAX_ANALYSIS_STEPS = 20_000  # exits followed, about a second for a hostile flow; the rest is not analyzed

NEXT_EXIT = "next"
TENANT_PATH: VariablePath = ("tenant",)


class AbstractState(NamedTuple):
    """What can hold at a node: its voices, and the possible values (as JSON) of the variables with few of them."""

    voices: frozenset[Voice]
    known_values: Mapping[VariablePath, frozenset[str]]

    def join(self, other: "AbstractState") -> "AbstractState":
        """Return the union of common states."""
        if other == self:
            return self
        common = {
            name: self.known_values[name] | other.known_values[name]
            for name in self.known_values
            if name in other.known_values
        }
        few = {name: values for name, values in common.items() if len(values) <= MAX_EXPANDED_TEXTS}
        voices = self.voices | other.voices
        return AbstractState(voices if len(voices) <= MAX_VOICES_PER_NODE else self.voices, few)

    def with_values(self, name: VariablePath, values: frozenset[str] | None) -> "AbstractState":
        """Return the state with other values for one name; None is unknown."""
        if self.known_values.get(name) == values:
            return self
        rest = {known: known_values for known, known_values in self.known_values.items() if known != name}
        return AbstractState(self.voices, rest if values is None else {**rest, name: values})

    @property
    def cache_key(self) -> tuple[frozenset[Voice], frozenset[Any]]:
        """A hashable form of the state."""
        return self.voices, frozenset(self.known_values.items())


class AnalysisResult(NamedTuple):
    """Result for one flow: the states at its nodes, in the order of discovery, and at its ends.

    ``has_open_exit``: some exit has no target, so the call ends there.
    """

    node_states: dict[str, AbstractState]
    end_states: dict[str, AbstractState]
    has_open_exit: bool


class FlowAnalysis:
    """Analysis of one version and its subflows. ``tenant`` is the object that templates read."""

    def __init__(self, version: FlowVersion, tenant: Mapping[str, Any]) -> None:
        self._tenant = dict(tenant)
        self._steps_left = MAX_ANALYSIS_STEPS
        self._results: dict[Any, AnalysisResult] = {}
        self.root_result = self.analyze(version, self._entry_state(version, frozenset([version.flow.voice])))

    def analyze(self, version: FlowVersion, entry_state: AbstractState) -> AnalysisResult:
        """Analyze a version from this entry state. Results are cached."""
        key = (version.id, entry_state.cache_key)
        if key not in self._results:
            self._results[key] = self._run_analysis(version, entry_state)
        return self._results[key]

    def subflow_entry(
        self, version: FlowVersion, node: Subflow, state: AbstractState
    ) -> tuple[FlowVersion, AbstractState] | None:
        """Return the flow that a node calls and the state at its start; None if the flow is missing."""
        called = version.subflows.get(node.reference)
        if called is None:
            return None
        entry = self._entry_state(called, state.voices)
        for name, value in node.inputs.items():
            entry = entry.with_values((name,), self._constant_value(value))
        return called, entry

    def _entry_state(self, version: FlowVersion, voices: frozenset[Voice]) -> AbstractState:
        initial: dict[VariablePath, frozenset[str]] = {
            (name,): frozenset([_to_json(value)]) for name, value in version.flow.variables.items()
        }
        return AbstractState(voices, {**initial, TENANT_PATH: frozenset([_to_json(self._tenant)])})

    def _run_analysis(self, version: FlowVersion, entry_state: AbstractState) -> AnalysisResult:
        states, end_states, has_open_exit = {version.flow.start: entry_state}, dict[str, AbstractState](), False
        queue = dict.fromkeys([version.flow.start])  # an ordered set
        while queue:
            name = next(iter(queue))
            del queue[name]
            for target, state in self._successors(version, name, states[name], end_states):
                self._steps_left -= 1
                if target is None:
                    has_open_exit = True
                    _join_into(end_states, NEXT_EXIT, state)
                elif self._steps_left > 0 and _join_into(states, target, state):
                    queue[target] = None
        return AnalysisResult(states, end_states, has_open_exit)

    def _successors(
        self, version: FlowVersion, name: str, state: AbstractState, end_states: dict[str, AbstractState]
    ) -> Iterator[tuple[str | None, AbstractState]]:
        """Yield the targets of a node (None ends the call) and the states there."""
        node = version.flow.nodes[name]
        if isinstance(node, End):
            _join_into(end_states, node.name, state)
            return
        if isinstance(node, Collect | Subflow):  # global commands are heard at questions, also at those of subflows
            targets = (command.go for command in version.flow.anywhere.values() if command.go != REPEAT_TARGET)
            yield from ((target, state) for target in targets)
        for exit_name, after in self._exit_states(version, node, state):
            if exit_name == "answered" and exit_name not in node.exits:
                continue  # the transfer was answered: the call ends without a goodbye
            yield node.target_of(exit_name), after.with_values((name, "value"), _result_value(node, exit_name))

    def _exit_states(
        self, version: FlowVersion, node: Node, state: AbstractState
    ) -> Iterator[tuple[str, AbstractState]]:
        match node:
            case Collect():
                for exit_name in node.possible_exits():
                    yield exit_name, _state_after_collect(node, exit_name, state)
            case ChangeVoice():
                yield NEXT_EXIT, AbstractState(frozenset(map(node.apply_to, state.voices)), state.known_values)
            case Set():
                for name, value in node.values.items():
                    state = state.with_values((name,), self._constant_value(value))
                yield NEXT_EXIT, state
            case Subflow():
                yield from self._subflow_exit_states(version, node, state)
            case Request() | Record():
                unknown = state
                for name in node.assigned_variables():
                    unknown = unknown.with_values((name,), None)
                yield from ((exit_name, unknown) for exit_name in node.possible_exits())
            case _:
                yield from ((exit_name, state) for exit_name in node.possible_exits())

    def _subflow_exit_states(
        self, version: FlowVersion, node: Subflow, state: AbstractState
    ) -> Iterator[tuple[str, AbstractState]]:
        """A subflow returns by each of its ends with its outputs; the caller's voice is restored."""
        entry = self.subflow_entry(version, node, state)
        end_states = self.analyze(*entry).end_states if entry else {NEXT_EXIT: AbstractState(state.voices, {})}
        for exit_name, inner in end_states.items():
            after = state
            for outer, name in node.outputs.items():
                after = after.with_values((outer,), inner.known_values.get((name,)))
            yield exit_name, after

    def _constant_value(self, value: TemplateValue) -> frozenset[str] | None:
        """Return the value of a literal, or of a template that reads only ``tenant``; None is unknown."""
        if any(path[0] != "tenant" for path in value.variable_paths):
            return None
        try:
            return frozenset([_to_json(value.render_value({"tenant": self._tenant}))])
        except RenderError:
            return None


def _state_after_collect(node: Collect, exit_name: str, state: AbstractState) -> AbstractState:
    if not node.save_as or exit_name in ("no_input", "no_match"):
        return state
    is_known = node.expect in ("choice", "yes_no") and not node.sensitive
    return state.with_values((node.save_as,), frozenset([_to_json(exit_name)]) if is_known else None)


def _result_value(node: Node, exit_name: str) -> frozenset[str] | None:
    """The value that templates read as ``{{ node.value }}``: the exit's name, for node types with such a value."""
    if "value" not in node.result_names or node.input_is_sensitive:
        return None
    if isinstance(node, Collect) and (
        node.expect not in ("choice", "yes_no") or exit_name not in node.possible_exits()[:-2]
    ):
        return None
    return frozenset([_to_json(exit_name)])


def _join_into(states: dict[str, AbstractState], name: str, state: AbstractState) -> bool:
    """Join a state into those of a name. Returns whether this changed them."""
    before = states.get(name)
    states[name] = state if before is None else before.join(state)
    return states[name] != before


def _to_json(value: object) -> str:
    return msgspec.json.encode(value).decode()
