"""What a file of scenarios came to, as data and as text: one line a scenario, the conversation where one failed."""

from collections.abc import Iterator, Sequence

import msgspec

from vocelio.engine.flow import FlowVersion
from vocelio.engine.replay.transcript import render as conversation
from vocelio.engine.replay.transcript import transcript
from vocelio.engine.scenario.coverage import Coverage, coverage
from vocelio.engine.scenario.loader import ScenarioError
from vocelio.engine.scenario.runner import Failure, Result, run
from vocelio.engine.scenario.steps import Scenario
from vocelio.engine.scenario.validation import check


class Report(msgspec.Struct, frozen=True):
    """The results, in the order of the file, and what they covered together."""

    results: tuple[Result, ...]
    coverage: Coverage

    @property
    def passed(self) -> bool:
        """Whether every scenario did."""
        return all(result.passed for result in self.results)


def run_all(version: FlowVersion, scenarios: Sequence[Scenario]) -> Report:
    """Run a file's scenarios. Raises ScenarioError when they speak of nodes or variables that the flow has not."""
    if mistakes := check(version, scenarios):
        raise ScenarioError(mistakes)
    results = tuple(run(version, scenario) for scenario in scenarios)
    return Report(results, coverage(version, [result.exchanges for result in results]))


def render(report: Report) -> str:
    """The report as text, without a line feed at the end."""
    return "\n".join(_lines(report))


def _lines(report: Report) -> Iterator[str]:
    for result in report.results:
        yield f"{'ok  ' if result.passed else 'FAIL'}  {result.scenario.name}  ({result.seconds:.1f} s of call)"
        if result.failure:
            yield conversation(transcript(result.exchanges), "    ")
            yield from _failure(result.failure)
        for problem in result.problems:
            yield f"      the flow noted a problem at {problem}"
    passed = sum(result.passed for result in report.results)
    yield f"{passed} of {len(report.results)} scenarios passed"
    yield from _coverage(report.coverage)


def _failure(failure: Failure) -> Iterator[str]:
    yield f"    line {failure.line}: {failure.step}"
    for mismatch in failure.mismatches:
        yield f"      {mismatch.what}: expected  {mismatch.expected}"
        yield f"      {' ' * len(mismatch.what)}  found     {mismatch.found}"
    yield f"      the call is at {failure.node or 'no node'} and waits for {failure.waits}"


def _coverage(covered: Coverage) -> Iterator[str]:
    total = len(covered.taken) + len(covered.missed)
    yield f"{len(covered.taken)} of {total} exits taken ({covered.share:.0%})"
    for node, exit_name in covered.missed:
        yield f"      never taken: {node}.{exit_name}" if exit_name else f"      never reached: {node}"
