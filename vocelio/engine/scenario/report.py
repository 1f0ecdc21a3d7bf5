"""What a file of scenarios came to, as data and as text: one line a scenario, the conversation where one failed."""

from collections.abc import Iterator, Sequence

import msgspec

from vocelio.engine.flow import FlowVersion
from vocelio.engine.replay.transcript import build_transcript
from vocelio.engine.replay.transcript import format_transcript as conversation
from vocelio.engine.scenario.coverage import Coverage, measure_coverage
from vocelio.engine.scenario.loader import ScenarioError
from vocelio.engine.scenario.runner import Failure, ScenarioResult, run_scenario
from vocelio.engine.scenario.steps import Scenario
from vocelio.engine.scenario.validation import validate_scenarios


class ScenarioReport(msgspec.Struct, frozen=True):
    """The results, in the order of the file, and what they covered together."""

    results: tuple[ScenarioResult, ...]
    coverage: Coverage

    @property
    def passed(self) -> bool:
        """Whether every scenario did."""
        return all(result.passed for result in self.results)


def run_all(version: FlowVersion, scenarios: Sequence[Scenario]) -> ScenarioReport:
    """Run a file's scenarios. Raises ScenarioError when they speak of nodes or variables that the flow has not."""
    if mistakes := validate_scenarios(version, scenarios):
        raise ScenarioError(mistakes)
    results = tuple(run_scenario(version, scenario) for scenario in scenarios)
    return ScenarioReport(results, measure_coverage(version, [result.exchanges for result in results]))


def format_report(report: ScenarioReport) -> str:
    """The report as text, without a line feed at the end."""
    return "\n".join(_format_lines(report))


def _format_lines(report: ScenarioReport) -> Iterator[str]:
    for result in report.results:
        yield f"{'ok  ' if result.passed else 'FAIL'}  {result.scenario.name}  ({result.call_seconds:.1f} s of call)"
        if result.failure:
            yield conversation(build_transcript(result.exchanges), "    ")
            yield from _format_failure(result.failure)
        for problem in result.problems:
            yield f"      the flow noted a problem at {problem}"
    passed = sum(result.passed for result in report.results)
    yield f"{passed} of {len(report.results)} scenarios passed"
    yield from _format_coverage(report.coverage)


def _format_failure(failure: Failure) -> Iterator[str]:
    yield f"    line {failure.line}: {failure.step}"
    for mismatch in failure.mismatches:
        yield f"      {mismatch.subject}: expected  {mismatch.expected}"
        yield f"      {' ' * len(mismatch.subject)}  found     {mismatch.actual}"
    yield f"      the call is at {failure.node or 'no node'} and waits for {failure.waiting_for}"


def _format_coverage(covered: Coverage) -> Iterator[str]:
    total = len(covered.taken) + len(covered.missed)
    yield f"{len(covered.taken)} of {total} exits taken ({covered.ratio:.0%})"
    for node, exit_name in covered.missed:
        yield f"      never taken: {node}.{exit_name}" if exit_name else f"      never reached: {node}"
