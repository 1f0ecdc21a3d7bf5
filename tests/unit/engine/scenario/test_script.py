"""A scenario as a script for a caller with a voice."""

import json

from vocelio.engine.flow import FlowVersion
from vocelio.engine.scenario import loader as scenario
from vocelio.engine.scenario.call_script import (
    Check,
    Elsewhere,
    Mumble,
    Press,
    PutDown,
    Say,
    Script,
    StaySilent,
    script,
)
from vocelio.engine.validation import loader


def asking(timeout: float = 5.0) -> FlowVersion:
    ask = {
        "type": "collect",
        "expect": "yes_no",
        "prompt": "Good morning. Is it you?",
        "timeout": timeout,
        "retries": 0,
    }
    ask["exits"] = dict.fromkeys(("yes", "no", "no_input", "no_match"), "desk")
    nodes = {"ask": ask, "desk": {"type": "transfer", "department": "desk"}}
    return loader.load(json.dumps({"name": "f", "start": "ask", "nodes": nodes}).encode())


def made(step: str, timeout: float = 5.0, given: str = "{}") -> Script:
    text = f"scenarios: [{{name: one, given: {given}, steps: [{step}]}}]"
    return script(asking(timeout), scenario.load(text)[0])


def test_every_step_has_its_counterpart() -> None:
    steps = "{hears: good morning}, {says: yes, interrupts: true}, {transfer: busy}"
    found = made(steps, given="{nodes: {desk: {transfer: busy}}}")
    check, say, elsewhere = found.steps
    assert isinstance(check, Check)
    assert isinstance(elsewhere, Elsewhere)
    assert say == Say("yes", 0.5)
    assert list(found.outside) == ["desk"]


def test_silence_is_as_long_as_the_flow_s_patience() -> None:
    assert made("silent", timeout=3.0).steps == (StaySilent(3.5),)
    assert made("{silent: 2}").steps == (StaySilent(2.0),)


def test_the_others() -> None:
    assert made("mumbles").steps == (Mumble(1.5, None),)
    assert made("{presses: 12, interrupts: 2}").steps == (Press("12", 2.0),)
    assert made("hangs_up").steps == (PutDown(),)
