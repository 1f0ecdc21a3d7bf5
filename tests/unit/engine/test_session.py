"""The session itself: what is stale, what interrupts, how calls end."""

import math
from typing import Any

import pytest

from tests.unit.engine.phone import Phone, facts, flow
from vocelio.engine import actions, events
from vocelio.engine.errors import CheckpointError, EventError
from vocelio.engine.session import APOLOGY, GOODBYE, TOO_LONG, Session
from vocelio.engine.validation.loader import load

SAY: dict[str, Any] = {"type": "say", "text": "Hello.", "exits": {"next": "rest"}}
REST: dict[str, Any] = {"type": "wait", "seconds": 60}
ASK: dict[str, Any] = {"type": "collect", "prompt": "Well?", "expect": "yes_no", "exits": {"yes": "rest"}}


def test_nothing_happens_before_the_call_has_begun() -> None:
    session = Session(load(flow({"a": SAY, "rest": REST})), facts())
    for event in (
        events.KeyPressed(0.0, "1"),
        events.SpeechStarted(0.1),
        events.Commanded(0.2, "jump", "rest"),
        events.Commanded(0.3, "transfer", "x"),
    ):
        session.receive(event)
    assert {type(action) for action in session.actions()} <= {actions.Note}
    assert session.node == ""


def test_a_second_start_is_ignored() -> None:
    phone = Phone({"a": SAY, "rest": REST})
    assert phone.step(events.CallStarted) == []


def test_time_does_not_run_backwards() -> None:
    session = Session(load(flow({"a": SAY, "rest": REST})), facts())
    session.receive(events.CallStarted(1.0))
    for at in (0.5, math.nan, math.inf, 1e9):
        with pytest.raises(EventError):
            session.receive(events.SpeechStarted(at))


def test_stale_ids_are_ignored() -> None:
    phone = Phone({"a": SAY, "rest": REST})
    for event in (
        events.PromptFinished(1, "p99"),
        events.PromptInterrupted(1, "p99"),
        events.TimerFired(1, "t99"),
        events.Heard(1, "l99", "yes", True),
        events.ListeningFailed(1, "l99"),
        events.ReplyArrived(1, "h99", "ok"),
        events.TransferEnded(1, "x99", "busy"),
        events.QueueEnded(1, "q99", "failed"),
        events.RecordingEnded(1, "r99", 3.0),
    ):
        assert phone.feed(event) == []


def test_a_key_that_is_none_is_ignored() -> None:
    phone = Phone({"a": ASK, "rest": REST})
    assert phone.step(events.KeyPressed, "12") == []
    assert phone.step(events.KeyPressed, "") == []


def test_an_exit_left_out_ends_the_call_politely() -> None:
    phone = Phone({"a": {**SAY, "exits": {}}})
    phone.played()
    assert phone.spoken[-1] == GOODBYE
    assert not phone.session.ended
    phone.played()
    assert phone.session.outcome == "completed"
    assert isinstance(phone.every[-1], actions.HangUp)


def test_after_the_end_nothing_follows() -> None:
    phone = Phone({"a": {"type": "hangup"}})
    assert phone.session.ended
    assert phone.step(events.KeyPressed, "1") == []
    assert phone.step(events.Commanded, "hang_up") == []


def test_a_caller_who_leaves_has_abandoned_the_call() -> None:
    phone = Phone({"a": SAY, "rest": REST})
    assert phone.step(events.CallEnded) == []
    assert phone.session.outcome == "abandoned"


def test_a_call_has_a_longest_time() -> None:
    phone = Phone({"a": REST}, max_seconds=30)
    phone.fire("longest call")
    assert phone.spoken == [TOO_LONG]
    phone.played()
    assert phone.one(actions.HangUp).outcome == "failed"


def test_the_longest_time_goes_on_over_a_break() -> None:
    phone = Phone({"a": REST}, max_seconds=30)
    phone.at = 20.0
    phone.step(events.CallResumed, after=0.0)
    assert next(a.seconds for a in phone.last if isinstance(a, actions.StartTimer)) == 10.0


def test_a_flow_that_never_waits_is_stopped() -> None:
    nodes = {
        "a": {"type": "subflow", "flow": "other", "exits": {"next": "a"}},  # not known, so it could have waited
    }
    phone = Phone(nodes)
    assert phone.spoken == [APOLOGY]
    assert "100 nodes" in phone.problems[-1]
    phone.played()
    assert phone.session.outcome == "failed"


def test_a_problem_is_told_once_in_a_visit() -> None:
    rules = [{"when": "x > 2", "exit": "a"}, {"when": "x > 2", "exit": "b"}]
    phone = Phone(
        {"d": {"type": "decide", "rules": rules, "exits": {"else": "rest"}}, "rest": REST}, variables={"x": "?"}
    )
    assert len(phone.problems) == 1


def test_an_unknown_value_is_told() -> None:
    nodes = {
        "a": {"type": "say", "text": "Hi {{ name }}{{ name }}{{ name | default: 'you' }}", "exits": {"next": "s"}},
        "s": {"type": "collect", "prompt": "?", "expect": "text", "save_as": "name", "exits": {"done": "a"}},
    }
    phone = Phone(nodes)
    assert phone.spoken == ["Hi you"]
    assert phone.problems == ["`name` has no value"]


# An operator's commands


def test_an_operator_says_something() -> None:
    phone = Phone({"a": ASK, "rest": REST})
    phone.step(events.Commanded, "say", "One moment.")
    assert phone.one(actions.Speak).text == "One moment."
    phone.played()
    assert "silence" in phone.timers


def test_nobody_is_asked_again_while_an_operator_speaks() -> None:
    phone = Phone({"a": ASK, "rest": REST})
    phone.played()
    phone.step(events.Commanded, "say", "One moment.")
    phone.fire("silence")
    assert phone.spoken == ["Well?", "One moment."]
    phone.played()
    phone.fire("silence")
    assert phone.spoken[-1] == "Well?"


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
    phone = Phone({**nodes, "rest": REST})
    phone.press("98765#")
    assert phone.problems == ["a text that reads sensitive values failed"]


def test_a_stored_sound_leaves_the_excuse_to_the_next_text() -> None:
    phone = Phone({"a": {"type": "say", "audio": "hello", "exits": {"next": "ask"}}, "ask": ASK, "rest": REST})
    phone.step(events.CallResumed)
    phone.played()
    assert phone.spoken == ["", "", "Sorry, let's go on. Well?"]


def test_an_operator_jumps() -> None:
    phone = Phone({"a": ASK, "rest": REST})
    phone.step(events.Commanded, "jump", "rest")
    assert phone.session.node == "rest"
    assert phone.timers == ["longest call", "wait"]
    phone.step(events.Commanded, "jump", "nowhere")
    assert phone.session.node == "rest"


def test_an_operator_transfers_and_nothing_comes_between() -> None:
    phone = Phone({"a": ASK, "rest": REST})
    phone.step(events.Commanded, "transfer", "sales")
    assert phone.one(actions.Transfer).department == "sales"
    phone.press("1")
    phone.begin()
    assert not phone.exits
    phone.transferred("busy")
    assert not phone.exits
    assert phone.spoken[-1] == "Well?"
    phone.step(events.Commanded, "transfer", "sales")
    phone.transferred("answered")
    assert phone.session.outcome == "transferred"


def test_an_operator_hangs_up_at_once() -> None:
    phone = Phone({"a": SAY, "rest": REST})
    phone.step(events.Commanded, "hang_up")
    assert phone.session.outcome == "completed"
    assert [type(a) for a in phone.last if not isinstance(a, actions.CancelTimer)] == [
        actions.StopSpeaking,
        actions.HangUp,
    ]


def test_while_a_call_ends_it_can_only_be_cut() -> None:
    phone = Phone({"a": {"type": "hangup", "text": "Bye."}, "rest": REST})
    for command in ("jump", "say", "transfer"):
        assert phone.step(events.Commanded, command, "rest") == []
    phone.step(events.Commanded, "hang_up")
    assert phone.session.ended


# Breaks


def test_a_call_goes_on_where_it_was() -> None:
    phone = Phone({"a": SAY, "rest": REST})
    phone.step(events.CallResumed)
    assert phone.spoken == ["Hello.", "Sorry, let's go on. Hello."]


def test_a_goodbye_is_not_said_twice() -> None:
    phone = Phone({"a": {"type": "hangup", "text": "Bye."}})
    phone.step(events.CallResumed)
    assert phone.session.ended
    assert phone.spoken == ["Bye."]


def test_a_call_that_broke_off_before_it_began_begins() -> None:
    session = Session(load(flow({"a": SAY, "rest": REST})), facts())
    session.receive(events.CallResumed(1.0))
    assert session.node == "a"


def test_a_checkpoint_belongs_to_its_version() -> None:
    version, other = load(flow({"a": SAY, "rest": REST})), load(flow({"a": {**SAY, "text": "Hi."}, "rest": REST}))
    saved = Session(version, facts()).checkpoint()
    with pytest.raises(CheckpointError, match="saved by version"):
        Session.resume(other, saved)
    with pytest.raises(CheckpointError, match="not a checkpoint"):
        Session.resume(version, {**saved, "unheard_of": 1})
    with pytest.raises(CheckpointError):
        Session.resume(version, {})


def test_a_broken_checkpoint_is_no_crash() -> None:
    version = load(flow({"a": SAY, "rest": REST}))
    saved = Session(version, facts()).checkpoint()
    for change in ({"node": "gone"}, {"stack": [{"reference": "gone", "node": "a"}], "node": "a"}):
        with pytest.raises(CheckpointError):
            Session.resume(version, {**saved, **change})
