"""A turn's latency and its parts."""

from vocelio.gateway.calls.media.turn_latency import Turn


def test_the_parts_are_the_whole():
    turn = Turn()
    turn.silent(10.0, 10.6)
    turn.understood(10.7)
    turn.speaks("p1", 10.72)
    turn.speaks("p2", 10.72)
    turn.sounds("p1", 10.95)
    assert turn.heard("p2", 11.0) == {}
    parts = {part: round(seconds, 3) for part, seconds in turn.heard("p1", 11.05).items()}
    assert parts == {"endpointing": 0.6, "recognition": 0.1, "engine": 0.02, "synthesis": 0.23, "playout": 0.1}
    assert turn.heard("p1", 12.0) == {}, "once"


def test_what_is_known_before_the_caller_is_silent_begins_the_turn():
    turn = Turn()
    turn.understood(1.0)
    turn.speaks("p1", 1.0)
    turn.silent(1.05, 1.65)
    turn.sounds("p1", 1.75)
    parts = turn.heard("p1", 2.0)
    assert (parts["endpointing"], parts["recognition"], sum(parts.values())) == (0, 0, 1.0)


def test_a_caller_who_goes_on_speaking_is_not_answered_yet():
    turn = Turn()
    turn.silent(1.0, 1.6)
    turn.forget()
    turn.speaks("p1", 1.8)
    turn.sounds("p1", 1.8)
    assert turn.heard("p1", 1.9) == {}


def test_a_prompt_that_was_under_way_is_not_the_answer():
    turn = Turn()
    turn.silent(1.0, 1.6)
    turn.sounds("p0", 1.7)
    turn.understood(1.8)
    turn.speaks("p1", 1.9)
    assert turn.heard("p0", 1.95) == {}
    turn.sounds("p1", 2.0)
    assert sum(turn.heard("p1", 2.1).values()) == 2.1 - 1.0
