"""Call views agree with the database whatever is lost, repeated or late."""

import random

import pytest

from tests.support.live_call_row import live_call_row
from vocelio.gateway.events import Event
from vocelio.gateway.monitors.call_view import MAX_STORE_LAG_SECONDS, CallViewTracker


def make_event(sequence, kind, generation=1, **data):
    return Event(
        tenant="harbour", call="CA1", generation=generation, sequence=sequence, type=kind, occurred_at=20, data=data
    )


def make_row(**parts):
    return live_call_row(call="CA1", **parts)


def test_consecutive_event_needs_no_refresh():
    tracker = CallViewTracker("harbour", "CA1")
    assert tracker.apply_event(make_event(1, "call.started", caller="", number="+13072249663", flow="front-desk"))
    assert tracker.apply_event(make_event(2, "node.entered", node="greet"))
    assert tracker.apply_row(make_row(sequence=2, node="greet"), 0.0) == {"version": 1, "started_at": 10}


@pytest.mark.parametrize(
    "event", [make_event(4, "node.entered", node="bye"), make_event(3, "node.entered", generation=2, node="bye")]
)
def test_missing_event_is_detected(event):
    tracker = CallViewTracker("harbour", "CA1")
    tracker.apply_row(make_row(sequence=2, node="greet"), 0.0)
    assert not tracker.apply_event(event)


def test_event_of_an_unknown_call_needs_a_refresh():
    tracker = CallViewTracker("harbour", "CA1")
    assert not tracker.apply_event(make_event(7, "node.entered", node="bye"))
    changed = tracker.apply_row(make_row(sequence=6, node="greet"), 0.0)
    assert (changed["flow"], tracker.view.node, tracker.complete) == ("front-desk", "greet", True)


def test_events_ahead_of_the_database_are_revoked_after_the_maximum_lag():
    tracker = CallViewTracker("harbour", "CA1")
    tracker.apply_row(make_row(sequence=2, node="greet"), 0.0)
    tracker.apply_event(make_event(3, "node.entered", node="bye"))
    assert tracker.apply_row(make_row(sequence=2, node="greet", cost_micro_usd=5), 1.0) == {"cost_micro_usd": 5}
    assert (
        tracker.apply_row(make_row(sequence=2, node="greet", cost_micro_usd=5), 1.0 + MAX_STORE_LAG_SECONDS / 2) == {}
    )
    assert tracker.apply_row(make_row(sequence=2, node="greet", cost_micro_usd=5), 1.0 + MAX_STORE_LAG_SECONDS) == {
        "node": "greet",
        "sequence": 2,
    }


def test_outdated_row_does_not_revive_an_ended_call():
    tracker = CallViewTracker("harbour", "CA1")
    tracker.apply_row(make_row(sequence=2, node="greet"), 0.0)
    over = {"outcome": "completed", "department": "", "disposition": "", "billed_seconds": 1.0, "cost_micro_usd": 9}
    tracker.apply_event(make_event(3, "call.ended", **over))
    assert tracker.apply_row(make_row(sequence=2, node="greet"), 0.1) == {}
    assert (tracker.view.status, tracker.view.cost_micro_usd) == ("ended", 9)


def test_lost_call_can_be_resumed():
    tracker = CallViewTracker("harbour", "CA1")
    tracker.apply_row(make_row(sequence=2, ended_at=30, outcome="lost"), 0.0)
    assert tracker.final
    assert tracker.apply_event(make_event(1, "call.resumed", generation=2, planned=False))
    assert (tracker.view.status, tracker.view.outcome, tracker.final) == ("live", "", False)


def test_transient_events_do_not_change_the_position():
    tracker = CallViewTracker("harbour", "CA1")
    tracker.apply_row(make_row(sequence=2, node="greet"), 0.0)
    assert tracker.apply_event(make_event(2, "transcript.partial", text="sal"))
    assert tracker.apply_event(make_event(2, "caller.speaking", speaking=True))
    assert (tracker.view.partial_transcript, tracker.view.speaking, tracker.view.sequence) == ("sal", "caller", 2)
    assert tracker.apply_event(make_event(3, "transcript.final", text="sales"))
    assert (tracker.view.transcript, tracker.view.partial_transcript) == ("sales", "")


def test_event_behind_a_newer_row_still_sets_the_transcript():
    tracker = CallViewTracker("harbour", "CA1")
    tracker.apply_row(make_row(sequence=5), 0.0)
    tracker.apply_event(make_event(4, "transcript.final", text="sales"))
    assert (tracker.view.transcript, tracker.view.sequence) == ("sales", 5)


@pytest.mark.parametrize("seed", range(200))
def test_view_agrees_with_the_row_after_any_loss_and_order(seed):
    rng = random.Random(seed)  # noqa: S311 (nothing is guarded)
    events, node, sequence, generation = [], "", 0, 1
    for _ in range(rng.randrange(1, 40)):
        if rng.random() < 0.1:
            generation, sequence = generation + 1, 0
        sequence += 1
        if rng.random() < 0.5:
            node = rng.choice("abc")
            events.append(make_event(sequence, "node.entered", generation, node=node))
        else:
            events.append(make_event(sequence, "dtmf.received", generation, node=node))
    final = make_row(generation=generation, sequence=sequence, node=node)
    arrived = [item for item in events for _ in range(rng.choice((0, 1, 1, 1, 2)))]
    for _ in range(rng.randrange(3)):
        rng.shuffle(arrived)
    tracker, now = CallViewTracker("harbour", "CA1"), 0.0
    for item in arrived:
        tracker.apply_event(item)
        if rng.random() < 0.2:
            tracker.apply_row(final, now)
    tracker.apply_row(final, now)
    view = tracker.view
    assert (view.generation, view.sequence, view.node) == (generation, sequence, node)
