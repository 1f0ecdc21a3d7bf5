"""Comparison of a recorded call with another version: the same, other wording, or a difference from a turn on."""

import json
from copy import deepcopy
from typing import Any

import msgspec
import pytest

from vocelio.engine.call_log import CallLog, build_header
from vocelio.engine.flow import FlowVersion
from vocelio.engine.replay.compare import Comparison, compare, format_report
from vocelio.engine.scenario import loader as scenario
from vocelio.engine.scenario.runner import build_call_info, run_scenario
from vocelio.engine.validation import loader

NODES: dict[str, Any] = {
    "greet": {"type": "say", "text": "Good morning.", "exits": {"next": "ask"}},
    "ask": {
        "type": "collect",
        "expect": "choice",
        "prompt": "Sales or billing?",
        "choices": {"sales": {"phrases": ["sales"], "key": "1"}, "billing": {"phrases": ["billing"], "key": "2"}},
        "timeout": 5,
        "exits": {"sales": "desk", "billing": "file", "no_input": "bye", "no_match": "bye"},
    },
    "file": {"type": "request", "method": "GET", "url": "https://a.example/1", "exits": {"ok": "desk", "error": "bye"}},
    "desk": {"type": "transfer", "department": "sales", "exits": {"busy": "bye"}},
    "bye": {"type": "hangup", "text": "Goodbye."},
}


def changed_version(**nodes: dict[str, Any] | None) -> FlowVersion:
    """Load the flow with these nodes changed."""
    changed = deepcopy(NODES)
    for name, fields in nodes.items():
        changed[name] = {**changed.get(name, {}), **(fields or {})}
    return loader.load_flow(json.dumps({"name": "f", "start": "greet", "nodes": changed}).encode())


def recorded_log(*steps: str) -> CallLog:
    (item,) = scenario.load_scenarios(f"scenarios: [{{name: one, steps: [{', '.join(steps)}]}}]")
    result = run_scenario(changed_version(), item)
    assert result.passed, result.failure
    return CallLog(build_header(changed_version(), build_call_info(item.setup)), result.exchanges)


BUSY = recorded_log("{says: sales}", "{transfer: busy}")
UNCLEAR = recorded_log("mumbles", "{says: sales}", "{transfer: answered}")
SILENT = recorded_log("silent", "silent")
FILED = recorded_log("{presses: 2}", "{reply: {}}", "{transfer: answered}")
CUT_IN = recorded_log("{hears: sales or}", "{says: sales, interrupts: true}", "{transfer: busy}")


def compare_logs(log: CallLog, other: FlowVersion) -> tuple[Comparison, str, str, int]:
    results = compare(log, other)
    assert results.verdict == "differs"
    last = results.differences[-1]
    assert last.ends_comparison
    return results, last.recorded, last.replayed, last.turn


@pytest.mark.parametrize("log", [BUSY, UNCLEAR, SILENT, FILED, CUT_IN])
def test_unreached_nodes_make_no_difference(log: CallLog) -> None:
    choices = {**NODES["ask"]["choices"], "opening": {"key": "3"}}
    other = changed_version(
        ask={"choices": choices, "exits": {**NODES["ask"]["exits"], "opening": "opening"}}, opening=NODES["bye"]
    )
    results = compare(log, other)
    assert (results.same_version, results.verdict, results.differences) == (False, "same", ())
    assert format_report(log, results).startswith("scenario: the same conversation, ")


@pytest.mark.parametrize("log", [BUSY, UNCLEAR, SILENT, FILED, CUT_IN])
def test_other_action_ids_make_no_difference(log: CallLog) -> None:
    """An additional node at the start shifts every id."""
    other = changed_version(
        greet={"exits": {"next": "more"}}, more={"type": "set", "values": {"a": 1}, "exits": {"next": "ask"}}
    )
    assert compare(log, other).differences == ()


def test_other_wording_is_reported_and_comparison_continues() -> None:
    results = compare(BUSY, changed_version(greet={"text": "Hello."}, bye={"text": "So long."}))
    assert results.verdict == "same"
    assert [
        (item.turn, item.node, item.recorded, item.replayed, item.ends_comparison) for item in results.differences
    ] == [
        (1, "greet", 'flow "Good morning."', 'flow "Hello."', False),
        (2, "bye", 'flow "Goodbye."', 'flow "So long."', False),
    ]
    text = format_report(BUSY, results)
    assert text.startswith("scenario: the same path through the flow with other wording")
    assert "other wording: turn 1, 0.0 s, at greet" in text


def test_other_recognition_phrases_are_reported() -> None:
    choices = {"sales": {"phrases": ["sales", "to buy"]}, "billing": {"phrases": ["billing"], "key": "2"}}
    (results,) = compare(BUSY, changed_version(ask={"choices": choices})).differences
    assert (results.recorded, results.replayed, results.ends_comparison) == (
        'listen (phrases ["sales","billing"])',
        'listen (phrases ["sales","to buy","billing"])',
        False,
    )


def test_answer_that_no_longer_matches_ends_the_comparison() -> None:
    choices = {"sales": {"phrases": ["orders"]}, "billing": {"phrases": ["billing"]}}
    results, recorded, replayed, turn = compare_logs(BUSY, changed_version(ask={"choices": choices}))
    assert (recorded, turn) == ("rings sales", 2)
    assert replayed.startswith('listen, flow "Sorry, I did not understand. Sales or billing?"')
    text = format_report(BUSY, results)
    assert text.startswith("scenario: another conversation from turn 2.")
    assert text.endswith("recorded events not compared.")


def test_other_department_ends_the_comparison() -> None:
    _, recorded, replayed, turn = compare_logs(UNCLEAR, changed_version(desk={"department": "orders"}))
    assert (recorded, replayed, turn) == ("rings sales", "rings orders", 3)


def test_other_transfer_timeout_ends_the_comparison() -> None:
    _, recorded, replayed, _ = compare_logs(BUSY, changed_version(desk={"timeout": 9}))
    assert (recorded, replayed) == ("rings sales (ring_seconds 0.0)", "rings sales (ring_seconds 9.0)")


def test_additional_prompt_ends_the_comparison() -> None:
    other = changed_version(
        greet={"exits": {"next": "more"}}, more={"type": "say", "text": "Hear.", "exits": {"next": "ask"}}
    )
    _, recorded, replayed, turn = compare_logs(BUSY, other)
    assert (recorded, replayed, turn) == ('listen, flow "Sales or billing?"', 'flow "Hear."', 1)


def test_other_request_url_ends_the_comparison() -> None:
    _, recorded, replayed, _ = compare_logs(FILED, changed_version(file={"url": "https://b.example/1"}))
    assert (recorded, replayed) == ("GET https://a.example/1", "GET https://b.example/1")


def test_longer_timeout_differs_only_if_the_caller_was_silent() -> None:
    patient = changed_version(ask={"timeout": 8})
    assert compare(BUSY, patient).differences == ()
    _, recorded, replayed, turn = compare_logs(SILENT, patient)
    assert recorded.startswith("a timer fired at ")
    assert replayed.startswith("it would have fired at ")
    assert turn == 1


def test_shorter_timeout_differs_only_if_the_caller_was_slow() -> None:
    slow = recorded_log("{silent: 4}", "{says: sales}", "{transfer: answered}")
    assert compare(BUSY, changed_version(ask={"timeout": 3})).differences == ()
    _, recorded, replayed, turn = compare_logs(slow, changed_version(ask={"timeout": 3}))
    assert (recorded, turn) == ("no timer had fired", 1)
    assert replayed.startswith("a timer would have fired at ")


def test_barge_in_turned_off_ends_the_comparison() -> None:
    _, recorded, replayed, _ = compare_logs(CUT_IN, changed_version(ask={"barge_in": False}))
    assert "listen" in recorded
    assert "listen" not in replayed


def test_earlier_end_ends_the_comparison() -> None:
    other = changed_version(ask={"exits": {**NODES["ask"]["exits"], "sales": "bye"}})
    _, recorded, replayed, _ = compare_logs(BUSY, other)
    assert (recorded, replayed) == ("rings sales", 'flow "Goodbye."')


def test_redacted_answer_ends_the_comparison() -> None:
    exchanges = tuple(
        msgspec.structs.replace(item, redacted=type(item.event).__name__ == "TranscriptReceived")
        for item in BUSY.exchanges
    )
    results = compare(CallLog(BUSY.header, exchanges), changed_version(bye={"text": "So long."}))
    assert (results.verdict, results.differences, results.turn_count) == ("redacted", (), 0)
