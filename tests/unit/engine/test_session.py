"""FlowSession: stale events, operator commands, resuming, checkpoints, and how calls end."""

import math
from typing import Any

import pytest

from tests.support.session_driver import SessionDriver, flow_document, make_call_info
from vocelio.engine import actions, events
from vocelio.engine.errors import CheckpointError, EventError
from vocelio.engine.session import DEFAULT_ERROR_MESSAGE, GOODBYE_MESSAGE, MAX_DURATION_MESSAGE, FlowSession
from vocelio.engine.validation.loader import load_flow

SAY: dict[str, Any] = {"type": "say", "text": "Hello.", "exits": {"next": "rest"}}
WAIT: dict[str, Any] = {"type": "wait", "seconds": 60}
ASK: dict[str, Any] = {"type": "collect", "prompt": "Well?", "expect": "yes_no", "exits": {"yes": "rest"}}


def test_events_before_the_start_are_ignored() -> None:
    session = FlowSession(load_flow(flow_document({"a": SAY, "rest": WAIT})), make_call_info())
    for event in (
        events.KeyPressed(0.0, "1"),
        events.SpeechStarted(0.1),
        events.OperatorCommand(0.2, "jump", "rest"),
        events.OperatorCommand(0.3, "transfer", "x"),
    ):
        session.receive(event)
    assert {type(action) for action in session.actions()} <= {actions.EmitEvent}
    assert session.node == ""


def test_second_start_is_ignored() -> None:
    driver = SessionDriver({"a": SAY, "rest": WAIT})
    assert driver.step(events.CallStarted) == []


def test_event_out_of_time_order_raises() -> None:
    session = FlowSession(load_flow(flow_document({"a": SAY, "rest": WAIT})), make_call_info())
    session.receive(events.CallStarted(1.0))
    for at in (0.5, math.nan, math.inf, 1e9):
        with pytest.raises(EventError):
            session.receive(events.SpeechStarted(at))


def test_stale_ids_are_ignored_by_all_events() -> None:
    driver = SessionDriver({"a": SAY, "rest": WAIT})
    for event in (
        events.PromptFinished(1, "p99"),
        events.PromptInterrupted(1, "p99"),
        events.TimerFired(1, "t99"),
        events.TranscriptReceived(1, "l99", "yes", True),
        events.ListeningFailed(1, "l99"),
        events.RequestEnded(1, "h99", "ok"),
        events.TransferEnded(1, "x99", "busy"),
        events.QueueEnded(1, "q99", "failed"),
        events.RecordingEnded(1, "r99", 3.0),
    ):
        assert driver.feed(event) == []


def test_invalid_key_is_ignored() -> None:
    driver = SessionDriver({"a": ASK, "rest": WAIT})
    assert driver.step(events.KeyPressed, "12") == []
    assert driver.step(events.KeyPressed, "") == []


def test_unconnected_exit_ends_the_call_with_a_goodbye() -> None:
    driver = SessionDriver({"a": {**SAY, "exits": {}}})
    driver.finish_prompts()
    assert driver.spoken_texts[-1] == GOODBYE_MESSAGE
    assert not driver.session.ended
    driver.finish_prompts()
    assert driver.session.outcome == "completed"
    assert isinstance(driver.all_actions[-1], actions.HangUp)


def test_ended_session_ignores_events() -> None:
    driver = SessionDriver({"a": {"type": "hangup"}})
    assert driver.session.ended
    assert driver.step(events.KeyPressed, "1") == []
    assert driver.step(events.OperatorCommand, "hang_up") == []


def test_caller_hang_up_is_abandoned() -> None:
    driver = SessionDriver({"a": SAY, "rest": WAIT})
    assert driver.step(events.CallEnded) == []
    assert driver.session.outcome == "abandoned"


def test_max_duration_ends_the_call() -> None:
    driver = SessionDriver({"a": WAIT}, max_seconds=30)
    driver.fire_timer("max_duration")
    assert driver.spoken_texts == [MAX_DURATION_MESSAGE]
    driver.finish_prompts()
    assert driver.only_action(actions.HangUp).outcome == "failed"


def test_max_duration_counts_across_streams() -> None:
    driver = SessionDriver({"a": WAIT}, max_seconds=30)
    driver.now = 20.0
    driver.step(events.CallResumed, after=0.0)
    assert next(a.seconds for a in driver.last_actions if isinstance(a, actions.StartTimer)) == 10.0


def test_flow_that_never_waits_is_stopped() -> None:
    nodes = {
        "a": {
            "type": "subflow",
            "flow": "other",
            "exits": {"next": "a"},
        },  # unknown, so validation assumes that it waits
    }
    driver = SessionDriver(nodes)
    assert driver.spoken_texts == [DEFAULT_ERROR_MESSAGE]
    assert "100 nodes" in driver.flow_problems[-1]
    driver.finish_prompts()
    assert driver.session.outcome == "failed"


def test_problem_is_reported_once_per_visit() -> None:
    rules = [{"when": "x > 2", "exit": "a"}, {"when": "x > 2", "exit": "b"}]
    driver = SessionDriver(
        {"d": {"type": "decide", "rules": rules, "exits": {"else": "rest"}}, "rest": WAIT}, variables={"x": "?"}
    )
    assert len(driver.flow_problems) == 1


def test_undefined_value_is_reported() -> None:
    nodes = {
        "a": {"type": "say", "text": "Hi {{ name }}{{ name }}{{ name | default: 'you' }}", "exits": {"next": "s"}},
        "s": {"type": "collect", "prompt": "?", "expect": "text", "save_as": "name", "exits": {"done": "a"}},
    }
    driver = SessionDriver(nodes)
    assert driver.spoken_texts == ["Hi you"]
    assert driver.flow_problems == ["`name` has no value"]


# Operator commands


def test_operator_say() -> None:
    driver = SessionDriver({"a": ASK, "rest": WAIT})
    driver.step(events.OperatorCommand, "say", "One moment.")
    assert driver.only_action(actions.Speak).text == "One moment."
    driver.finish_prompts()
    assert "silence" in driver.timers


def test_silence_timer_restarts_while_an_operator_prompt_plays() -> None:
    driver = SessionDriver({"a": ASK, "rest": WAIT})
    driver.finish_prompts()
    driver.step(events.OperatorCommand, "say", "One moment.")
    driver.fire_timer("silence")
    assert driver.spoken_texts == ["Well?", "One moment."]
    driver.finish_prompts()
    driver.fire_timer("silence")
    assert driver.spoken_texts[-1] == "Well?"


def test_render_error_of_a_sensitive_value_is_not_quoted() -> None:
    pin = {
        "type": "collect",
        "prompt": "?",
        "expect": "digits",
        "sensitive": True,
        "save_as": "pin",
        "exits": {"done": "d"},
    }
    nodes = {"p": pin, "d": {"type": "decide", "rules": [{"when": "pin > 3", "exit": "a"}], "exits": {"else": "rest"}}}
    driver = SessionDriver({**nodes, "rest": WAIT})
    driver.press_keys("98765#")
    assert driver.flow_problems == ["a template that reads sensitive values failed"]


def test_resume_message_skips_a_stored_sound() -> None:
    driver = SessionDriver({"a": {"type": "say", "audio": "hello", "exits": {"next": "ask"}}, "ask": ASK, "rest": WAIT})
    driver.step(events.CallResumed)
    driver.finish_prompts()
    assert driver.spoken_texts == ["", "", "Sorry, let's go on. Well?"]


def test_operator_jump() -> None:
    driver = SessionDriver({"a": ASK, "rest": WAIT})
    driver.step(events.OperatorCommand, "jump", "rest")
    assert driver.session.node == "rest"
    assert driver.timers == ["max_duration", "wait"]
    driver.step(events.OperatorCommand, "jump", "nowhere")
    assert driver.session.node == "rest"


def test_operator_transfer_suspends_the_node() -> None:
    driver = SessionDriver({"a": ASK, "rest": WAIT})
    driver.step(events.OperatorCommand, "transfer", "sales")
    assert driver.only_action(actions.Transfer).department == "sales"
    driver.press_keys("1")
    driver.start_speech()
    assert not driver.exits_taken
    driver.end_transfer("busy")
    assert not driver.exits_taken
    assert driver.spoken_texts[-1] == "Well?"
    driver.step(events.OperatorCommand, "transfer", "sales")
    driver.end_transfer("answered")
    assert driver.session.outcome == "transferred"


def test_operator_hang_up_is_immediate() -> None:
    driver = SessionDriver({"a": SAY, "rest": WAIT})
    driver.step(events.OperatorCommand, "hang_up")
    assert driver.session.outcome == "completed"
    assert [type(a) for a in driver.last_actions if not isinstance(a, actions.CancelTimer)] == [
        actions.StopSpeaking,
        actions.HangUp,
    ]


def test_closing_call_accepts_only_hang_up() -> None:
    driver = SessionDriver({"a": {"type": "hangup", "text": "Bye."}, "rest": WAIT})
    for command in ("jump", "say", "transfer"):
        assert driver.step(events.OperatorCommand, command, "rest") == []
    driver.step(events.OperatorCommand, "hang_up")
    assert driver.session.ended


# Resuming


def test_resumed_call_continues_at_its_node() -> None:
    driver = SessionDriver({"a": SAY, "rest": WAIT})
    driver.step(events.CallResumed)
    assert driver.spoken_texts == ["Hello.", "Sorry, let's go on. Hello."]


def test_resumed_call_does_not_repeat_the_goodbye() -> None:
    driver = SessionDriver({"a": {"type": "hangup", "text": "Bye."}})
    driver.step(events.CallResumed)
    assert driver.session.ended
    assert driver.spoken_texts == ["Bye."]


def test_call_resumed_before_its_start_starts() -> None:
    session = FlowSession(load_flow(flow_document({"a": SAY, "rest": WAIT})), make_call_info())
    session.receive(events.CallResumed(1.0))
    assert session.node == "a"


def test_checkpoint_of_another_version_is_rejected() -> None:
    version, other = (
        load_flow(flow_document({"a": SAY, "rest": WAIT})),
        load_flow(flow_document({"a": {**SAY, "text": "Hi."}, "rest": WAIT})),
    )
    saved = FlowSession(version, make_call_info()).checkpoint()
    with pytest.raises(CheckpointError, match="saved by version"):
        FlowSession.resume(other, saved)
    with pytest.raises(CheckpointError, match="not a checkpoint"):
        FlowSession.resume(version, {**saved, "unknown_field": 1})
    with pytest.raises(CheckpointError):
        FlowSession.resume(version, {})


def test_inconsistent_checkpoint_is_rejected() -> None:
    version = load_flow(flow_document({"a": SAY, "rest": WAIT}))
    saved = FlowSession(version, make_call_info()).checkpoint()
    for change in ({"node": "gone"}, {"stack": [{"reference": "gone", "node": "a"}], "node": "a"}):
        with pytest.raises(CheckpointError):
            FlowSession.resume(version, {**saved, **change})
