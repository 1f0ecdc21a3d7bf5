"""Whether scenarios fit their flow: a mistyped node or variable would be a test that can never come true."""

from collections.abc import Iterable, Iterator

from vocelio.engine.diagnostics import did_you_mean
from vocelio.engine.flow import FlowVersion
from vocelio.engine.scenario.loader import Mistake
from vocelio.engine.scenario.steps import Expect, Operator, Scenario


def check(version: FlowVersion, scenarios: Iterable[Scenario]) -> list[Mistake]:
    """Everything that does not fit, by line."""
    nodes = nodes_within(version)
    return sorted({mistake for scenario in scenarios for mistake in _scenario(version, nodes, scenario)})


def nodes_within(version: FlowVersion) -> set[str]:
    """The names of the flow's nodes, and of those of the flows that it calls."""
    return set(version.flow.nodes).union(*map(nodes_within, version.subflows.values()))


def _scenario(version: FlowVersion, nodes: set[str], scenario: Scenario) -> Iterator[Mistake]:
    yield from _unknown("variable", scenario.given.variables, version.flow.variables, scenario.line)
    yield from _unknown("node", scenario.given.nodes, nodes, scenario.line)
    for placed in scenario.steps:
        match placed.step:
            case Expect(expect=expectation) if expectation.node is not None:
                yield from _unknown("node", [expectation.node], nodes, placed.line)
            case Operator(operator="jump", value=node):
                yield from _unknown("node", [node], nodes, placed.line)
            case _:
                pass


def _unknown(what: str, names: Iterable[str], known: Iterable[str], line: int) -> Iterator[Mistake]:
    known = sorted(known)
    for name in names:
        if name not in known:
            yield Mistake(line, f"the flow has no {what} `{name[:80]}`", did_you_mean(name[:80], known))
