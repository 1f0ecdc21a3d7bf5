"""Call script: a scenario converted for a caller with audio."""

import json

from vocelio.engine.flow import FlowVersion
from vocelio.engine.scenario import loader as scenario
from vocelio.engine.scenario.call_script import (
    CallScript,
    Check,
    ExternalEvent,
    HangUp,
    Noise,
    Press,
    Say,
    StaySilent,
    build_call_script,
)
from vocelio.engine.validation import loader


def ask_flow(timeout: float = 5.0) -> FlowVersion:
    ask = {
        "type": "collect",
        "expect": "yes_no",
        "prompt": "Good morning. Is it you?",
        "timeout": timeout,
        "retries": 0,
    }
    ask["exits"] = dict.fromkeys(("yes", "no", "no_input", "no_match"), "desk")
    nodes = {"ask": ask, "desk": {"type": "transfer", "department": "desk"}}
    return loader.load_flow(json.dumps({"name": "f", "start": "ask", "nodes": nodes}).encode())


def make_script(step: str, timeout: float = 5.0, given: str = "{}") -> CallScript:
    text = f"scenarios: [{{name: one, given: {given}, steps: [{step}]}}]"
    return build_call_script(ask_flow(timeout), scenario.load_scenarios(text)[0])


def test_steps_are_converted_in_order() -> None:
    steps = "{hears: good morning}, {says: yes, interrupts: true}, {transfer: busy}"
    result = make_script(steps, given="{nodes: {desk: {transfer: busy}}}")
    check, say, elsewhere = result.steps
    assert isinstance(check, Check)
    assert isinstance(elsewhere, ExternalEvent)
    assert say == Say("yes", 0.5)
    assert list(result.external_steps) == ["desk"]


def test_silence_is_longer_than_the_flows_timeout() -> None:
    assert make_script("silent", timeout=3.0).steps == (StaySilent(3.5),)
    assert make_script("{silent: 2}").steps == (StaySilent(2.0),)


def test_noise_keys_and_hangup() -> None:
    assert make_script("mumbles").steps == (Noise(1.5, None),)
    assert make_script("{presses: 12, interrupts: 2}").steps == (Press("12", 2.0),)
    assert make_script("hangs_up").steps == (HangUp(),)
