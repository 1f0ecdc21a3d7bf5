"""The session itself: what is stale, what interrupts, how calls end."""

import math
from typing import Any

import pytest

from tests.support.session_driver import SessionDriver, flow_document, make_call_info
from vocelio.engine import actions, events
from vocelio.engine.errors import CheckpointError, EventError
from vocelio.engine.session import DEFAULT_ERROR_MESSAGE, GOODBYE_MESSAGE, MAX_DURATION_MESSAGE, FlowSession
from vocelio.engine.validation.loader import load_flow

SAY: dict[str, Any] = {"type": "say", "text": "Hello.", "exits": {"next": "rest"}}
REST: dict[str, Any] = {"type": "wait", "seconds": 60}
ASK: dict[str, Any] = {"type": "collect", "prompt": "Well?", "expect": "yes_no", "exits": {"yes": "rest"}}


def test_nothing_happens_before_the_call_has_begun() -> None:
    session = FlowSession(load_flow(flow_document({"a": SAY, "rest": REST})), make_call_info())
    for event in (
        events.KeyPressed(0.0, "1"),
        events.SpeechStarted(0.1),
        events.OperatorCommand(0.2, "jump", "rest"),
        events.OperatorCommand(0.3, "transfer", "x"),
    ):
        session.receive(event)
    assert {type(action) for action in session.actions()} <= {actions.EmitEvent}
    assert session.node == ""


def test_a_second_start_is_ignored() -> None:
    phone = SessionDriver({"a": SAY, "rest": REST})
    assert phone.step(events.CallStarted) == []


def test_time_does_not_run_backwards() -> None:
    session = FlowSession(load_flow(flow_document({"a": SAY, "rest": REST})), make_call_info())
    session.receive(events.CallStarted(1.0))
    for at in (0.5, math.nan, math.inf, 1e9):
        with pytest.raises(EventError):
            session.receive(events.SpeechStarted(at))


def test_stale_ids_are_ignored() -> None:
    phone = SessionDriver({"a": SAY, "rest": REST})
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
        assert phone.feed(event) == []


def test_a_key_that_is_none_is_ignored() -> None:
    phone = SessionDriver({"a": ASK, "rest": REST})
    assert phone.step(events.KeyPressed, "12") == []
    assert phone.step(events.KeyPressed, "") == []


def test_an_exit_left_out_ends_the_call_politely() -> None:
    phone = SessionDriver({"a": {**SAY, "exits": {}}})
    phone.finish_prompts()
    assert phone.spoken_texts[-1] == GOODBYE_MESSAGE
    assert not phone.session.ended
    phone.finish_prompts()
    assert phone.session.outcome == "completed"
    assert isinstance(phone.all_actions[-1], actions.HangUp)


def test_after_the_end_nothing_follows() -> None:
    phone = SessionDriver({"a": {"type": "hangup"}})
    assert phone.session.ended
    assert phone.step(events.KeyPressed, "1") == []
    assert phone.step(events.OperatorCommand, "hang_up") == []


def test_a_caller_who_leaves_has_abandoned_the_call() -> None:
    phone = SessionDriver({"a": SAY, "rest": REST})
    assert phone.step(events.CallEnded) == []
    assert phone.session.outcome == "abandoned"


def test_a_call_has_a_longest_time() -> None:
    phone = SessionDriver({"a": REST}, max_seconds=30)
    phone.fire_timer("max_duration")
    assert phone.spoken_texts == [MAX_DURATION_MESSAGE]
    phone.finish_prompts()
    assert phone.only_action(actions.HangUp).outcome == "failed"


def test_the_longest_time_goes_on_over_a_break() -> None:
    phone = SessionDriver({"a": REST}, max_seconds=30)
    phone.now = 20.0
    phone.step(events.CallResumed, after=0.0)
    assert next(a.seconds for a in phone.last_actions if isinstance(a, actions.StartTimer)) == 10.0


def test_a_flow_that_never_waits_is_stopped() -> None:
    nodes = {
        "a": {"type": "subflow", "flow": "other", "exits": {"next": "a"}},  # not known, so it could have waited
    }
    phone = SessionDriver(nodes)
    assert phone.spoken_texts == [DEFAULT_ERROR_MESSAGE]
    assert "100 nodes" in phone.flow_problems[-1]
    phone.finish_prompts()
    assert phone.session.outcome == "failed"


def test_a_problem_is_told_once_in_a_visit() -> None:
    rules = [{"when": "x > 2", "exit": "a"}, {"when": "x > 2", "exit": "b"}]
    phone = SessionDriver(
        {"d": {"type": "decide", "rules": rules, "exits": {"else": "rest"}}, "rest": REST}, variables={"x": "?"}
    )
    assert len(phone.flow_problems) == 1


def test_an_unknown_value_is_told() -> None:
    nodes = {
        "a": {"type": "say", "text": "Hi {{ name }}{{ name }}{{ name | default: 'you' }}", "exits": {"next": "s"}},
        "s": {"type": "collect", "prompt": "?", "expect": "text", "save_as": "name", "exits": {"done": "a"}},
    }
    phone = SessionDriver(nodes)
    assert phone.spoken_texts == ["Hi you"]
    assert phone.flow_problems == ["`name` has no value"]


# An operator's commands


def test_an_operator_says_something() -> None:
    phone = SessionDriver({"a": ASK, "rest": REST})
    phone.step(events.OperatorCommand, "say", "One moment.")
    assert phone.only_action(actions.Speak).text == "One moment."
    phone.finish_prompts()
    assert "silence" in phone.timers


def test_nobody_is_asked_again_while_an_operator_speaks() -> None:
    phone = SessionDriver({"a": ASK, "rest": REST})
    phone.finish_prompts()
    phone.step(events.OperatorCommand, "say", "One moment.")
    phone.fire_timer("silence")
    assert phone.spoken_texts == ["Well?", "One moment."]
    phone.finish_prompts()
    phone.fire_timer("silence")
    assert phone.spoken_texts[-1] == "Well?"


def test_what_failed_on_a_sensitive_value_is_not_quoted() -> None:
    pin = {
        "type": "collect",
        "prompt": "?",
        "expect": "digits",
        "sensitive": True,
        "save_as": "pin",
        "exits": {"done": "d"},
    }
    nodes = {"p": pin, "d": {"type": "decide", "rules": [{"when": "pin > 3", "exit": "a"}], "exits": {"else": "rest"}}}
    phone = SessionDriver({**nodes, "rest": REST})
    phone.press_keys("98765#")
    assert phone.flow_problems == ["a template that reads sensitive values failed"]


def test_a_stored_sound_leaves_the_excuse_to_the_next_text() -> None:
    phone = SessionDriver({"a": {"type": "say", "audio": "hello", "exits": {"next": "ask"}}, "ask": ASK, "rest": REST})
    phone.step(events.CallResumed)
    phone.finish_prompts()
    assert phone.spoken_texts == ["", "", "Sorry, let's go on. Well?"]


def test_an_operator_jumps() -> None:
    phone = SessionDriver({"a": ASK, "rest": REST})
    phone.step(events.OperatorCommand, "jump", "rest")
    assert phone.session.node == "rest"
    assert phone.timers == ["max_duration", "wait"]
    phone.step(events.OperatorCommand, "jump", "nowhere")
    assert phone.session.node == "rest"


def test_an_operator_transfers_and_nothing_comes_between() -> None:
    phone = SessionDriver({"a": ASK, "rest": REST})
    phone.step(events.OperatorCommand, "transfer", "sales")
    assert phone.only_action(actions.Transfer).department == "sales"
    phone.press_keys("1")
    phone.start_speech()
    assert not phone.exits_taken
    phone.end_transfer("busy")
    assert not phone.exits_taken
    assert phone.spoken_texts[-1] == "Well?"
    phone.step(events.OperatorCommand, "transfer", "sales")
    phone.end_transfer("answered")
    assert phone.session.outcome == "transferred"


def test_an_operator_hangs_up_at_once() -> None:
    phone = SessionDriver({"a": SAY, "rest": REST})
    phone.step(events.OperatorCommand, "hang_up")
    assert phone.session.outcome == "completed"
    assert [type(a) for a in phone.last_actions if not isinstance(a, actions.CancelTimer)] == [
        actions.StopSpeaking,
        actions.HangUp,
    ]


def test_while_a_call_ends_it_can_only_be_cut() -> None:
    phone = SessionDriver({"a": {"type": "hangup", "text": "Bye."}, "rest": REST})
    for command in ("jump", "say", "transfer"):
        assert phone.step(events.OperatorCommand, command, "rest") == []
    phone.step(events.OperatorCommand, "hang_up")
    assert phone.session.ended


# Breaks


def test_a_call_goes_on_where_it_was() -> None:
    phone = SessionDriver({"a": SAY, "rest": REST})
    phone.step(events.CallResumed)
    assert phone.spoken_texts == ["Hello.", "Sorry, let's go on. Hello."]


def test_a_goodbye_is_not_said_twice() -> None:
    phone = SessionDriver({"a": {"type": "hangup", "text": "Bye."}})
    phone.step(events.CallResumed)
    assert phone.session.ended
    assert phone.spoken_texts == ["Bye."]


def test_a_call_that_broke_off_before_it_began_begins() -> None:
    session = FlowSession(load_flow(flow_document({"a": SAY, "rest": REST})), make_call_info())
    session.receive(events.CallResumed(1.0))
    assert session.node == "a"


def test_a_checkpoint_belongs_to_its_version() -> None:
    version, other = (
        load_flow(flow_document({"a": SAY, "rest": REST})),
        load_flow(flow_document({"a": {**SAY, "text": "Hi."}, "rest": REST})),
    )
    saved = FlowSession(version, make_call_info()).checkpoint()
    with pytest.raises(CheckpointError, match="saved by version"):
        FlowSession.resume(other, saved)
    with pytest.raises(CheckpointError, match="not a checkpoint"):
        FlowSession.resume(version, {**saved, "unheard_of": 1})
    with pytest.raises(CheckpointError):
        FlowSession.resume(version, {})


def test_a_broken_checkpoint_is_no_crash() -> None:
    version = load_flow(flow_document({"a": SAY, "rest": REST}))
    saved = FlowSession(version, make_call_info()).checkpoint()
    for change in ({"node": "gone"}, {"stack": [{"reference": "gone", "node": "a"}], "node": "a"}):
        with pytest.raises(CheckpointError):
            FlowSession.resume(version, {**saved, **change})
