"""Whatever is lost, doubled or late on the way, a picture ends up as the store is."""

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


def test_an_event_that_follows_the_last_needs_no_look_into_the_store():
    tracked = CallViewTracker("harbour", "CA1")
    assert tracked.apply_event(make_event(1, "call.started", caller="", number="+13072249663", flow="front-desk"))
    assert tracked.apply_event(make_event(2, "node.entered", node="greet"))
    assert tracked.apply_row(make_row(sequence=2, node="greet"), 0.0) == {"version": 1, "started_at": 10}


@pytest.mark.parametrize(
    "hole", [make_event(4, "node.entered", node="bye"), make_event(3, "node.entered", generation=2, node="bye")]
)
def test_a_hole_is_noticed(hole):
    tracked = CallViewTracker("harbour", "CA1")
    tracked.apply_row(make_row(sequence=2, node="greet"), 0.0)
    assert not tracked.apply_event(hole)


def test_events_of_a_call_that_nobody_knows_need_the_store():
    tracked = CallViewTracker("harbour", "CA1")
    assert not tracked.apply_event(make_event(7, "node.entered", node="bye"))
    changed = tracked.apply_row(make_row(sequence=6, node="greet"), 0.0)
    assert (changed["flow"], tracked.view.node, tracked.complete) == ("front-desk", "greet", True)


def test_events_are_ahead_of_the_store_for_a_while_and_then_it_is_right():
    tracked = CallViewTracker("harbour", "CA1")
    tracked.apply_row(make_row(sequence=2, node="greet"), 0.0)
    tracked.apply_event(make_event(3, "node.entered", node="bye"))
    assert tracked.apply_row(make_row(sequence=2, node="greet", cost_micro_usd=5), 1.0) == {"cost_micro_usd": 5}
    assert (
        tracked.apply_row(make_row(sequence=2, node="greet", cost_micro_usd=5), 1.0 + MAX_STORE_LAG_SECONDS / 2) == {}
    )
    assert tracked.apply_row(make_row(sequence=2, node="greet", cost_micro_usd=5), 1.0 + MAX_STORE_LAG_SECONDS) == {
        "node": "greet",
        "sequence": 2,
    }


def test_what_an_old_look_says_does_not_bring_a_call_back():
    tracked = CallViewTracker("harbour", "CA1")
    tracked.apply_row(make_row(sequence=2, node="greet"), 0.0)
    over = {"outcome": "completed", "department": "", "disposition": "", "billed_seconds": 1.0, "cost_micro_usd": 9}
    tracked.apply_event(make_event(3, "call.ended", **over))
    assert tracked.apply_row(make_row(sequence=2, node="greet"), 0.1) == {}
    assert (tracked.view.status, tracked.view.cost_micro_usd) == ("ended", 9)


def test_a_call_that_was_lost_comes_back():
    tracked = CallViewTracker("harbour", "CA1")
    tracked.apply_row(make_row(sequence=2, ended_at=30, outcome="lost"), 0.0)
    assert tracked.final
    assert tracked.apply_event(make_event(1, "call.resumed", generation=2, planned=False))
    assert (tracked.view.status, tracked.view.outcome, tracked.final) == ("live", "", False)


def test_events_of_the_moment_move_nothing():
    tracked = CallViewTracker("harbour", "CA1")
    tracked.apply_row(make_row(sequence=2, node="greet"), 0.0)
    assert tracked.apply_event(make_event(2, "transcript.partial", text="sal"))
    assert tracked.apply_event(make_event(2, "caller.speaking", speaking=True))
    assert (tracked.view.partial_transcript, tracked.view.speaking, tracked.view.sequence) == ("sal", "caller", 2)
    assert tracked.apply_event(make_event(3, "transcript.final", text="sales"))
    assert (tracked.view.transcript, tracked.view.partial_transcript) == ("sales", "")


def test_a_look_that_overtakes_an_event_does_not_hide_what_was_said():
    tracked = CallViewTracker("harbour", "CA1")
    tracked.apply_row(make_row(sequence=5), 0.0)
    tracked.apply_event(make_event(4, "transcript.final", text="sales"))
    assert (tracked.view.transcript, tracked.view.sequence) == ("sales", 5)


@pytest.mark.parametrize("seed", range(200))
def test_any_loss_any_order(seed):
    rng = random.Random(seed)  # noqa: S311 (nothing is guarded)
    told, node, sequence, generation = [], "", 0, 1
    for _ in range(rng.randrange(1, 40)):
        if rng.random() < 0.1:
            generation, sequence = generation + 1, 0
        sequence += 1
        if rng.random() < 0.5:
            node = rng.choice("abc")
            told.append(make_event(sequence, "node.entered", generation, node=node))
        else:
            told.append(make_event(sequence, "dtmf.received", generation, node=node))
    final = make_row(generation=generation, sequence=sequence, node=node)
    arrived = [one for one in told for _ in range(rng.choice((0, 1, 1, 1, 2)))]
    for _ in range(rng.randrange(3)):
        rng.shuffle(arrived)
    tracked, now = CallViewTracker("harbour", "CA1"), 0.0
    for one in arrived:
        tracked.apply_event(one)
        if rng.random() < 0.2:
            tracked.apply_row(final, now)
    tracked.apply_row(final, now)
    picture = tracked.view
    assert (picture.generation, picture.sequence, picture.node) == (generation, sequence, node)
