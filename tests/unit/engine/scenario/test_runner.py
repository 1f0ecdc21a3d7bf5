"""Virtual phone and scenario runner: effect and timing of each step, and messages of failures."""

import json
from typing import Any

import pytest

from vocelio.engine import events
from vocelio.engine.flow import FlowVersion
from vocelio.engine.scenario import loader as scenario
from vocelio.engine.scenario.report import ScenarioReport, format_report, run_all
from vocelio.engine.scenario.runner import Failure, ScenarioResult, run_scenario
from vocelio.engine.validation import loader

DESK = {"type": "transfer", "department": "desk"}


def make_version(nodes: dict[str, Any], **fields: Any) -> FlowVersion:
    return loader.load_flow(json.dumps({"name": "f", "start": next(iter(nodes)), "nodes": nodes, **fields}).encode())


def ask_flow(**fields: Any) -> FlowVersion:
    ask = {
        "type": "collect",
        "expect": "choice",
        "prompt": "Sales or billing?",
        "choices": {"sales": {"phrases": ["sales"], "key": "1"}, "billing": {"phrases": ["billing"], "key": "2"}},
        "retries": 0,
        "exits": dict.fromkeys(("sales", "billing", "no_input", "no_match"), "desk"),
    }
    greet = {"type": "say", "text": "Good morning. This is the office.", "exits": {"next": "ask"}}
    return make_version({"greet": greet, "ask": ask | fields, "desk": DESK})


def scenario_file(steps: str, given: str = "{}") -> str:
    listed = "\n".join(f"      {line}" for line in steps.strip().splitlines())
    return f"scenarios:\n  - name: one\n    given: {given}\n    steps:\n{listed}\n"


def run_steps(version: FlowVersion, steps: str, given: str = "{}") -> ScenarioResult:
    (item,) = scenario.load_scenarios(scenario_file(steps, given))
    return run_scenario(version, item)


def assert_passes(version: FlowVersion, steps: str, given: str = "{}") -> ScenarioResult:
    result = run_steps(version, steps, given)
    assert result.passed, result.failure
    return result


def assert_fails(version: FlowVersion, steps: str, given: str = "{}") -> Failure:
    result = run_steps(version, steps, given)
    assert result.failure
    return result.failure


def event_kinds(result: ScenarioResult) -> list[str]:
    return [type(exchange.event).__name__ for exchange in result.exchanges]


# Time


def test_prompts_and_timeouts_take_virtual_time() -> None:
    result = assert_passes(ask_flow(timeout=7), "- silent\n- expect: {node: desk}")
    finished = [exchange.event.at for exchange in result.exchanges if isinstance(exchange.event, events.PromptFinished)]
    assert finished == pytest.approx([33 / 15, (33 + 17) / 15])
    assert result.call_seconds == pytest.approx(50 / 15 + 7)


def test_caller_waits_for_the_end_of_the_prompt() -> None:
    result = assert_passes(ask_flow(), "- says: sales\n- expect: {node: desk}")
    assert "PromptInterrupted" not in event_kinds(result)


def test_interrupting_caller_barges_in() -> None:
    result = assert_passes(
        ask_flow(), "- hears: Good morning\n- says: sales\n  interrupts: 0.3\n- expect: {node: desk}"
    )
    (cut,) = [each.event for each in result.exchanges if isinstance(each.event, events.PromptInterrupted)]
    assert (cut.at, cut.played_seconds) == (pytest.approx(0.3), pytest.approx(0.3))


def test_prompt_without_barge_in_is_played_to_its_end() -> None:
    version = make_version({"a": {"type": "say", "text": "Listen to this.", "barge_in": False}})
    assert "PromptInterrupted" not in event_kinds(
        assert_passes(version, "- says: but\n  interrupts: true\n- hears: goodbye")
    )


def test_silence_of_given_seconds_fires_timers() -> None:
    assert_passes(ask_flow(), "- silent: 4.9\n- expect: {node: ask}\n- silent: 0.2\n- expect: {node: desk}")


def test_partial_transcripts_precede_the_final_one() -> None:
    result = assert_passes(ask_flow(), "- says: billing\n  partial: [bill]\n  confidence: 0.5\n- expect: {node: desk}")
    heard = [each.event for each in result.exchanges if isinstance(each.event, events.TranscriptReceived)]
    assert [(item.text, item.final, item.confidence) for item in heard] == [
        ("bill", False, 0.5),
        ("billing", True, 0.5),
    ]


def test_wait_node_ends_by_itself() -> None:
    version = make_version({"w": {"type": "wait", "seconds": 500, "exits": {"next": "bye"}}, "bye": {"type": "hangup"}})
    assert assert_passes(version, "- expect: {outcome: completed}").call_seconds == 500


def test_endless_talk_is_ended_by_the_maximum_duration() -> None:
    talk = {"type": "say", "text": "No.", "exits": {"next": "w"}}
    version = make_version(
        {"talk": talk, "w": {"type": "wait", "seconds": 0.5, "exits": {"next": "talk"}}}, max_seconds=60
    )
    assert assert_passes(version, "- hears: longest time\n- expect: {outcome: failed}").call_seconds > 60


def test_runaway_flow_is_aborted() -> None:
    talk = {"type": "say", "text": "No.", "exits": {"next": "w"}}
    nodes = {"talk": talk, "w": {"type": "wait", "seconds": 0.01, "exits": {"next": "talk"}}}
    failure = assert_fails(make_version(nodes, max_seconds=14_400), "- hears: yes")
    assert "did not become idle" in failure.mismatches[0].actual


# Steps


def test_keys_results_and_operator_commands() -> None:
    assert_passes(ask_flow(), "- presses: 2\n- transfer: answered\n- expect: {outcome: transferred, department: desk}")
    assert_passes(ask_flow(), "- hangs_up\n- expect: {outcome: abandoned}")
    assert_passes(ask_flow(), "- operator: hang_up\n- expect: {outcome: completed}")
    assert_passes(ask_flow(), "- operator: transfer\n  value: elsewhere\n- expect: {department: elsewhere}")
    assert_passes(ask_flow(), "- operator: say\n  value: One moment.\n- hears: one moment")
    assert_passes(ask_flow(), "- operator: jump\n  value: desk\n- expect: {node: desk}")


def test_reconnect_resumes_the_question() -> None:
    assert_passes(
        ask_flow(), "- expect: {node: ask}\n- reconnects\n- hears: let's go on. Sales or billing\n- says: sales"
    )


def test_step_overrides_the_setup_of_the_node() -> None:
    given = "{nodes: {desk: {transfer: answered}}}"
    assert_passes(ask_flow(), "- says: sales\n- expect: {outcome: transferred}", given)
    assert_passes(ask_flow(), "- says: sales\n- transfer: busy\n- expect: {outcome: completed}", given)


def test_setup_variables_replace_initial_values() -> None:
    nodes = {"a": {"type": "hangup", "text": "{{ n }}"}}
    assert_passes(
        make_version(nodes, variables={"n": 1}), "- hears: 7\n- expect: {variables: {n: 7}}", "{variables: {n: 7}}"
    )


def test_sensitive_variables_can_be_expected() -> None:
    pin = {"type": "collect", "expect": "digits", "prompt": "Your PIN?", "sensitive": True, "save_as": "pin"}
    pin["exits"] = dict.fromkeys(("done", "no_input", "no_match"), "bye")
    version = make_version({"pin": pin, "bye": {"type": "hangup"}})
    assert_passes(version, "- presses: 1234#\n- expect: {variables: {pin: '1234'}}")


def test_only_given_parts_of_a_request_are_compared() -> None:
    post = {"type": "request", "method": "POST", "url": "https://a.example/b", "json": {"a": 1, "b": 2}}
    version = make_version({"post": post | {"headers": {"X-A": "1"}}})
    assert_passes(version, "- expect: {request: {method: POST, json: {a: 1}, headers: {X-A: '1'}}}\n- reply: {}")
    entries = assert_fails(
        version, "- expect: {request: {url: https://a.example/c, json: {a: true}, headers: {X-B: '1'}}}"
    )
    assert [mismatch.subject for mismatch in entries.mismatches] == [
        "request url",
        "request json",
        "request header X-B",
    ]


# Failures


def test_failure_contains_line_mismatches_and_state() -> None:
    failure = assert_fails(ask_flow(), "- says: sales\n- expect: {node: ask, outcome: completed}")
    assert (failure.line, failure.node, failure.waiting_for) == (6, "desk", "a transfer to end")
    assert [(item.subject, item.expected, item.actual) for item in failure.mismatches] == [
        ("node", "ask", "desk"),
        ("outcome", "completed", "the call is in progress"),
    ]


@pytest.mark.parametrize(
    ("steps", "what", "result"),
    [
        ("- hears: hello", "the caller hears", "Good morning. This is the office. Sales or billing?"),
        ("- says: sales\n- says: billing", "the flow", "waits for a transfer to end"),
        ("- transfer: busy", "the flow", "waits for the caller"),
        ("- says: sales\n- reply: {}", "the flow", "waits for a transfer to end"),
        ("- hangs_up\n- says: hello", "the call", "has ended: abandoned"),
        ("- hangs_up\n- hangs_up", "the call", "has ended: abandoned"),
        ("- says: sales\n- hears: sales or", "the caller hears", "nothing"),
        ("- expect: {variables: {a: 1}}", "variable a", "not set"),
        ("- expect: {department: desk}", "department", "none"),
        ("- expect: {disposition: x}", "disposition", "the call is in progress"),
        ("- expect: {request: {}}", "request", "none"),
    ],
)
def test_failed_step(steps: str, what: str, result: str) -> None:
    failure = assert_fails(ask_flow(), steps)
    assert (failure.mismatches[0].subject, failure.mismatches[0].actual) == (what, result)


def build_report(version: FlowVersion, steps: str, given: str = "{}") -> ScenarioReport:
    return run_all(version, scenario.load_scenarios(scenario_file(steps, given)))


def test_report_contains_transcript_of_failed_scenario() -> None:
    text = format_report(build_report(ask_flow(), "- says: sales\n- transfer: busy\n- hears: hello"))
    assert text.splitlines() == [
        "FAIL  one  (16.4 s of call)",
        '        0.0  greet          flow   "Good morning. This is the office."',
        '        2.2  ask            flow   "Sales or billing?"',
        '        4.3  ask            caller "sales"',
        "        4.3  desk                  rings desk",
        "       14.3  desk                  -> busy",
        '       14.3  desk           flow   "Thank you for calling. Goodbye."',
        "       16.4  desk                  the call ends: completed",
        "    line 7: hears: hello",
        "      the caller hears: expected  hello",
        "                        actual    Thank you for calling. Goodbye.",
        "      the call is at desk and waits for nothing (the call has ended)",
        "0 of 1 scenarios passed",
        "3 of 9 exits taken (33%)",
        "      never taken: ask.billing",
        "      never taken: ask.no_input",
        "      never taken: ask.no_match",
        "      never taken: desk.answered",
        "      never taken: desk.no_answer",
        "      never taken: desk.failed",
    ]


def test_problems_reported_by_the_flow_are_in_the_report() -> None:
    version = make_version({"a": {"type": "decide", "rules": [{"when": "n > 2", "exit": "x"}]}}, variables={"n": "one"})
    result = build_report(version, "- hears: goodbye")
    assert result.passed
    assert "the flow reported a problem at a: " in format_report(result)


def test_unknown_nodes_and_variables_are_rejected() -> None:
    text = "- expect: {node: aks}\n- operator: jump\n  value: dsk"
    with pytest.raises(scenario.ScenarioError) as raised:
        build_report(ask_flow(), text, "{variables: {a: 1}, nodes: {desc: {transfer: busy}}}")
    assert str(raised.value).splitlines() == [
        "line 2: the flow has no node `desc` (did you mean `desk`?)",
        "line 2: the flow has no variable `a`",
        "line 5: the flow has no node `aks` (did you mean `ask`?)",
        "line 6: the flow has no node `dsk` (did you mean `desk`?)",
    ]
