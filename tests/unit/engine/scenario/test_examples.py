"""Examples: every scenario passes, and together they take every exit of every node."""

from pathlib import Path

import msgspec
import pytest

from vocelio.engine.call_log import CallLog, build_header, decode_log, encode_log, replay
from vocelio.engine.flow import FlowVersion
from vocelio.engine.nodes import NODE_TYPES
from vocelio.engine.replay.compare import compare
from vocelio.engine.scenario import loader as scenario
from vocelio.engine.scenario.call_script import build_call_script
from vocelio.engine.scenario.report import format_report, run_all
from vocelio.engine.scenario.runner import build_call_info, run_scenario, with_variables
from vocelio.engine.scenario.steps import Scenario
from vocelio.engine.session import FlowSession
from vocelio.engine.validation.loader import validate_all

EXAMPLES = Path(__file__).parents[4] / "examples"
FILES = {path.stem: path for path in sorted(EXAMPLES.glob("*.json")) if Path(scenario.scenario_path(path)).exists()}
SCENARIOS = {
    name: scenario.load_scenarios(Path(scenario.scenario_path(path)).read_text("utf-8")) for name, path in FILES.items()
}
ALL_SCENARIOS = [
    pytest.param(name, item, id=f"{name}: {item.name}") for name, listed in SCENARIOS.items() for item in listed
]
VALIDATED = validate_all({name: path.read_bytes() for name, path in FILES.items()})


def version(name: str) -> FlowVersion:
    results, problems = VALIDATED[name]
    assert results, problems
    return results


@pytest.mark.parametrize(("name", "item"), ALL_SCENARIOS)
def test_scenario_passes(name: str, item: Scenario) -> None:
    result = run_scenario(version(name), item)
    assert result.passed, format_report(run_all(version(name), [item]))
    assert not result.problems


@pytest.mark.parametrize(("name", "item"), ALL_SCENARIOS)
def test_call_can_be_replayed(name: str, item: Scenario) -> None:
    called = with_variables(version(name), item.setup)
    exchanges = run_scenario(version(name), item).exchanges
    assert replay(called, build_call_info(item.setup), [exchange.event for exchange in exchanges]) == list(exchanges)
    log = decode_log(encode_log(CallLog(build_header(called, build_call_info(item.setup)), exchanges)))
    comparison = compare(log, called)
    assert (comparison.same_version, comparison.verdict, comparison.differences) == (True, "same", ())


@pytest.mark.parametrize(("name", "item"), ALL_SCENARIOS)
def test_conversation_is_the_same_on_an_equal_version(name: str, item: Scenario) -> None:
    """The comparison by meaning finds no difference."""
    called = with_variables(version(name), item.setup)
    log = CallLog(
        build_header(FlowVersion("another", called.flow), build_call_info(item.setup)),
        run_scenario(version(name), item).exchanges,
    )
    comparison = compare(log, called)
    assert (comparison.same_version, comparison.verdict, comparison.differences) == (False, "same", ())


@pytest.mark.parametrize(("name", "item"), ALL_SCENARIOS)
def test_call_script_has_every_step(name: str, item: Scenario) -> None:
    assert len(build_call_script(version(name), item).steps) == len(item.steps)


@pytest.mark.parametrize(("name", "item"), ALL_SCENARIOS)
def test_checkpoints_stay_small(name: str, item: Scenario) -> None:
    session = FlowSession(with_variables(version(name), item.setup), build_call_info(item.setup))
    for exchange in run_scenario(version(name), item).exchanges:
        session.receive(exchange.event)
        assert len(msgspec.json.encode(session.checkpoint())) < 8_192


@pytest.mark.parametrize("name", FILES)
def test_all_exits_are_covered(name: str) -> None:
    report = run_all(version(name), SCENARIOS[name])
    assert report.coverage.missed == ()
    assert report.coverage.ratio == 1.0


@pytest.mark.parametrize("name", FILES)
def test_example_has_no_diagnostics(name: str) -> None:
    assert VALIDATED[name][1] == []


def test_every_node_type_has_an_example() -> None:
    """The file is named after the node type."""
    assert {name.split("-")[0] for name in FILES} >= set(NODE_TYPES)
    for name in FILES:
        types = {node.type for node in version(name).flow.nodes.values()}
        assert name.split("-")[0] in types or name.split("-")[0] not in NODE_TYPES
