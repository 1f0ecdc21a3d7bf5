"""What can be foreseen of the calls of a flow: which nodes they reach, in which voices and with which known values.

An abstract run: from the start along every exit, each node with all that can be the case there, until nothing is new
(the textbook's forward data-flow analysis; sets only grow, so it ends). A variable is known where each of its writers
writes one of a few values: a choice, a literal, something about the tenant. What was entered in confidence never is.
An operator's jump is not foreseen.
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

MAX_VOICES_PER_NODE = 20  # at one node: more languages than any phone line has
MAX_ANALYSIS_STEPS = (
    20_000  # exits followed: a second's work, of a flow that was made to take it; what is beyond is not foreseen
)

NEXT_EXIT = "next"
TENANT_PATH: VariablePath = ("tenant",)


class AbstractState(NamedTuple):
    """What can be the case at a node: the voices, and the values (as JSON) of the names that have but a few."""

    voices: frozenset[Voice]
    known_values: Mapping[VariablePath, frozenset[str]]

    def join(self, other: "AbstractState") -> "AbstractState":
        """Either is the case."""
        if other == self:
            return self
        both = {
            name: self.known_values[name] | other.known_values[name]
            for name in self.known_values
            if name in other.known_values
        }
        few = {name: values for name, values in both.items() if len(values) <= MAX_EXPANDED_TEXTS}
        voices = self.voices | other.voices
        return AbstractState(voices if len(voices) <= MAX_VOICES_PER_NODE else self.voices, few)

    def with_values(self, name: VariablePath, values: frozenset[str] | None) -> "AbstractState":
        """The same, but for one name; None is not known."""
        if self.known_values.get(name) == values:
            return self
        rest = {other: held for other, held in self.known_values.items() if other != name}
        return AbstractState(self.voices, rest if values is None else {**rest, name: values})

    @property
    def cache_key(self) -> tuple[frozenset[Voice], frozenset[Any]]:
        """What a dictionary can find it by."""
        return self.voices, frozenset(self.known_values.items())


class AnalysisResult(NamedTuple):
    """What was foreseen of one flow: the facts at each node, first the first ones, and at each of its ends.

    ``unled``: a way out leads nowhere.
    """

    node_states: dict[str, AbstractState]
    end_states: dict[str, AbstractState]
    has_open_exit: bool


class FlowAnalysis:
    """The foresight of one version, by the ``tenant`` as its templates see it."""

    def __init__(self, version: FlowVersion, tenant: Mapping[str, Any]) -> None:
        self._tenant = dict(tenant)
        self._steps_left = MAX_ANALYSIS_STEPS
        self._results: dict[Any, AnalysisResult] = {}
        self.root_result = self.analyze(version, self._entry_state(version, frozenset([version.flow.voice])))

    def analyze(self, version: FlowVersion, entry_state: AbstractState) -> AnalysisResult:
        """What is foreseen of a version that is entered so."""
        key = (version.id, entry_state.cache_key)
        if key not in self._results:
            self._results[key] = self._run_analysis(version, entry_state)
        return self._results[key]

    def subflow_entry(
        self, version: FlowVersion, node: Subflow, state: AbstractState
    ) -> tuple[FlowVersion, AbstractState] | None:
        """The flow that a node calls, and how it is entered."""
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
        at, ends, unled = {version.flow.start: entry_state}, dict[str, AbstractState](), False
        ahead = dict.fromkeys([version.flow.start])  # a queue that holds each once
        while ahead:
            name = next(iter(ahead))
            del ahead[name]
            for target, facts in self._successors(version, name, at[name], ends):
                self._steps_left -= 1
                if target is None:
                    unled = True
                    _join_into(ends, NEXT_EXIT, facts)
                elif self._steps_left > 0 and _join_into(at, target, facts):
                    ahead[target] = None
        return AnalysisResult(at, ends, unled)

    def _successors(
        self, version: FlowVersion, name: str, state: AbstractState, end_states: dict[str, AbstractState]
    ) -> Iterator[tuple[str | None, AbstractState]]:
        """Where a node leads, and with what."""
        node = version.flow.nodes[name]
        if isinstance(node, End):
            _join_into(end_states, node.name, state)
            return
        if isinstance(node, Collect | Subflow):  # a question, or a flow that has some
            wishes = (wish.go for wish in version.flow.anywhere.values() if wish.go != REPEAT_TARGET)
            yield from ((target, state) for target in wishes)
        for exit_name, after in self._exit_states(version, node, state):
            if exit_name == "answered" and exit_name not in node.exits:
                continue  # the caller has been put through, and nobody says goodbye
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
        """Out of a called flow by each of its ends: with its outputs, in the voice of before."""
        entered = self.subflow_entry(version, node, state)
        ends = self.analyze(*entered).end_states if entered else {NEXT_EXIT: AbstractState(state.voices, {})}
        for exit_name, inner in ends.items():
            after = state
            for outer, name in node.outputs.items():
                after = after.with_values((outer,), inner.known_values.get((name,)))
            yield exit_name, after

    def _constant_value(self, value: TemplateValue) -> frozenset[str] | None:
        """A literal's value, or that of a template that reads only what the tenant is."""
        if any(path[0] != "tenant" for path in value.variable_paths):
            return None
        try:
            return frozenset([_to_json(value.render_value({"tenant": self._tenant}))])
        except RenderError:
            return None


def _state_after_collect(node: Collect, exit_name: str, state: AbstractState) -> AbstractState:
    if not node.save_as or exit_name in ("no_input", "no_match"):
        return state
    few = node.expect in ("choice", "yes_no") and not node.sensitive
    return state.with_values((node.save_as,), frozenset([_to_json(exit_name)]) if few else None)


def _result_value(node: Node, exit_name: str) -> frozenset[str] | None:
    """What later templates read as ``{{ node.value }}``: the exit's name, where the node's type has such a value."""
    if "value" not in node.result_names or node.input_is_sensitive:
        return None
    if isinstance(node, Collect) and (
        node.expect not in ("choice", "yes_no") or exit_name not in node.possible_exits()[:-2]
    ):
        return None
    return frozenset([_to_json(exit_name)])


def _join_into(states: dict[str, AbstractState], name: str, state: AbstractState) -> bool:
    """Whether that is new."""
    before = states.get(name)
    states[name] = state if before is None else before.join(state)
    return states[name] != before


def _to_json(value: object) -> str:
    return msgspec.json.encode(value).decode()
