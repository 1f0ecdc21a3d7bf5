"""Report of a scenario file: results, coverage of the flow's exits, and both as text.

The text has one line for each scenario, and the transcript of those that failed.
"""

from collections.abc import Iterable, Iterator, Sequence

import msgspec

from vocelio.engine.actions import EmitEvent
from vocelio.engine.call_log import Exchange
from vocelio.engine.flow import FlowVersion
from vocelio.engine.node import Node
from vocelio.engine.nodes.end import End
from vocelio.engine.nodes.subflow import Subflow
from vocelio.engine.replay.transcript import build_transcript, format_transcript
from vocelio.engine.scenario.loader import ScenarioError, validate_scenarios
from vocelio.engine.scenario.runner import Failure, ScenarioResult, run_scenario
from vocelio.engine.scenario.steps import Scenario

NodeExit = tuple[str, str]
"""A node and one of its exits. For a node without exits, such as hangup, the exit is empty: the node was entered."""


class Coverage(msgspec.Struct, frozen=True):
    """Exits in the order of the document; ``taken`` counts how often."""

    taken: dict[NodeExit, int]
    missed: tuple[NodeExit, ...]

    @property
    def ratio(self) -> float:
        """The share of exits taken, from 0.0 to 1.0."""
        return len(self.taken) / (len(self.taken) + len(self.missed))


class ScenarioReport(msgspec.Struct, frozen=True):
    """The results in the order of the file, and their common coverage."""

    results: tuple[ScenarioResult, ...]
    coverage: Coverage

    @property
    def passed(self) -> bool:
        """Whether every scenario passed."""
        return all(result.passed for result in self.results)


def run_all(version: FlowVersion, scenarios: Sequence[Scenario]) -> ScenarioReport:
    """Run the scenarios of a file. Raises ScenarioError if they name nodes or variables that the flow does not have."""
    if diagnostics := validate_scenarios(version, scenarios):
        raise ScenarioError(diagnostics)
    results = tuple(run_scenario(version, scenario) for scenario in scenarios)
    return ScenarioReport(results, measure_coverage(version, [result.exchanges for result in results]))


# Coverage


def all_exits(version: FlowVersion) -> list[NodeExit]:
    """List every exit of every node of the flow."""
    nodes = version.flow.nodes.items()
    return [(name, exit_name) for name, node in nodes for exit_name in dict.fromkeys(_exits_of(version, node) or [""])]


def _exits_of(version: FlowVersion, node: Node) -> Iterable[str]:
    """The exits of a subflow node are the ends of the called flow, and ``next`` if it is wired."""
    if not isinstance(node, Subflow) or node.reference not in version.subflows:
        return node.possible_exits()
    called_nodes = version.subflows[node.reference].flow.nodes.values()
    ends = [end.name for end in called_nodes if isinstance(end, End)]
    return [*ends, "next"] if "next" in node.exits or not ends else ends


def measure_coverage(version: FlowVersion, calls: Iterable[Iterable[Exchange]]) -> Coverage:
    """Count the exits that the calls took in this flow. Its subflows have scenarios of their own."""
    counts = dict.fromkeys(all_exits(version), 0)
    for call in calls:
        for node_exit in _exits_taken(call):
            if node_exit in counts:
                counts[node_exit] += 1
    missed = tuple(node_exit for node_exit, count in counts.items() if not count)
    return Coverage({node_exit: count for node_exit, count in counts.items() if count}, missed)


def _exits_taken(call: Iterable[Exchange]) -> Iterator[NodeExit]:
    """Exits of the call's own flow. The events of a subflow's nodes contain the name of that flow."""
    subflow_node = None
    for action in (action for exchange in call for action in exchange.actions if isinstance(action, EmitEvent)):
        node = str(action.data.get("node", ""))
        if action.type == "node.entered":
            subflow_node = node if "flow" in action.data else None
            if subflow_node is None:
                yield node, ""
        elif action.type == "node.left" and node == subflow_node:
            subflow_node = None
        elif action.type == "node.left":
            yield node, str(action.data.get("exit", ""))


# Text


def format_report(report: ScenarioReport) -> str:
    """Format the report as text, without a line feed at the end."""
    return "\n".join(_format_lines(report))


def _format_lines(report: ScenarioReport) -> Iterator[str]:
    for result in report.results:
        yield f"{'ok  ' if result.passed else 'FAIL'}  {result.scenario.name}  ({result.call_seconds:.1f} s of call)"
        if result.failure:
            yield format_transcript(build_transcript(result.exchanges), "    ")
            yield from _format_failure(result.failure)
        for problem in result.problems:
            yield f"      the flow reported a problem at {problem}"
    passed = sum(result.passed for result in report.results)
    yield f"{passed} of {len(report.results)} scenarios passed"
    yield from _format_coverage(report.coverage)


def _format_failure(failure: Failure) -> Iterator[str]:
    yield f"    line {failure.line}: {failure.step}"
    for mismatch in failure.mismatches:
        yield f"      {mismatch.subject}: expected  {mismatch.expected}"
        yield f"      {' ' * len(mismatch.subject)}  actual    {mismatch.actual}"
    yield f"      the call is at {failure.node or 'no node'} and waits for {failure.waiting_for}"


def _format_coverage(coverage: Coverage) -> Iterator[str]:
    total = len(coverage.taken) + len(coverage.missed)
    yield f"{len(coverage.taken)} of {total} exits taken ({coverage.ratio:.0%})"
    for node, exit_name in coverage.missed:
        yield f"      never taken: {node}.{exit_name}" if exit_name else f"      never reached: {node}"
