"""A turn's latency and its parts."""

from vocelio.gateway.calls.media.turn_latency import TurnLatency


def test_latency_parts_add_up_to_the_total():
    turn = TurnLatency()
    turn.on_silence(10.0, 10.6)
    turn.on_transcript(10.7)
    turn.on_reply("p1", 10.72)
    turn.on_reply("p2", 10.72)
    turn.on_first_audio("p1", 10.95)
    assert turn.on_playback("p2", 11.0) == {}
    parts = {part: round(seconds, 3) for part, seconds in turn.on_playback("p1", 11.05).items()}
    assert parts == {"endpointing": 0.6, "recognition": 0.1, "engine": 0.02, "synthesis": 0.23, "playout": 0.1}
    assert turn.on_playback("p1", 12.0) == {}, "once"


def test_turn_starts_at_an_answer_known_before_silence():
    turn = TurnLatency()
    turn.on_transcript(1.0)
    turn.on_reply("p1", 1.0)
    turn.on_silence(1.05, 1.65)
    turn.on_first_audio("p1", 1.75)
    parts = turn.on_playback("p1", 2.0)
    assert (parts["endpointing"], parts["recognition"], sum(parts.values())) == (0, 0, 1.0)


def test_speaking_again_resets_the_turn():
    turn = TurnLatency()
    turn.on_silence(1.0, 1.6)
    turn.reset()
    turn.on_reply("p1", 1.8)
    turn.on_first_audio("p1", 1.8)
    assert turn.on_playback("p1", 1.9) == {}


def test_earlier_prompt_is_not_the_reply():
    turn = TurnLatency()
    turn.on_silence(1.0, 1.6)
    turn.on_first_audio("p0", 1.7)
    turn.on_transcript(1.8)
    turn.on_reply("p1", 1.9)
    assert turn.on_playback("p0", 1.95) == {}
    turn.on_first_audio("p1", 2.0)
    assert sum(turn.on_playback("p1", 2.1).values()) == 2.1 - 1.0
