"""Whether scenarios fit their flow: a mistyped node or variable would be a test that can never come true."""

from collections.abc import Iterable, Iterator

from vocelio.engine.diagnostics import did_you_mean
from vocelio.engine.flow import FlowVersion
from vocelio.engine.scenario.loader import ScenarioDiagnostic
from vocelio.engine.scenario.steps import Expect, OperatorCommand, Scenario


def validate_scenarios(version: FlowVersion, scenarios: Iterable[Scenario]) -> list[ScenarioDiagnostic]:
    """Everything that does not fit, by line."""
    nodes = all_node_names(version)
    return sorted({mistake for scenario in scenarios for mistake in _validate_scenario(version, nodes, scenario)})


def all_node_names(version: FlowVersion) -> set[str]:
    """The names of the flow's nodes, and of those of the flows that it calls."""
    return set(version.flow.nodes).union(*map(all_node_names, version.subflows.values()))


def _validate_scenario(version: FlowVersion, node_names: set[str], scenario: Scenario) -> Iterator[ScenarioDiagnostic]:
    yield from _unknown_names("variable", scenario.setup.variables, version.flow.variables, scenario.line)
    yield from _unknown_names("node", scenario.setup.nodes, node_names, scenario.line)
    for placed in scenario.steps:
        match placed.step:
            case Expect(expect=expectation) if expectation.node is not None:
                yield from _unknown_names("node", [expectation.node], node_names, placed.line)
            case OperatorCommand(operator="jump", value=node):
                yield from _unknown_names("node", [node], node_names, placed.line)
            case _:
                pass


def _unknown_names(kind: str, names: Iterable[str], known: Iterable[str], line: int) -> Iterator[ScenarioDiagnostic]:
    known = sorted(known)
    for name in names:
        if name not in known:
            yield ScenarioDiagnostic(line, f"the flow has no {kind} `{name[:80]}`", did_you_mean(name[:80], known))
