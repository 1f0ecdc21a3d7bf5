"""Both sides of a call on one clock: where each sound lies, what a barge-in cuts, what is lost on the way."""

import random

import pytest

from vocelio.gateway.media.stereo_mixer import StereoMixer

SILENCE = b"\xff"
FRAME_BYTES = 160


def mixed_channels(recording, until=None):
    both = recording.take(until)
    return both[0::2], both[1::2]


def feed_caller(recording, seconds, since=0.0, byte=b"c", late=0.0):
    """The caller's frames, each of which has ended when it comes."""
    for index in range(round(seconds / 0.02)):
        recording.add_caller(byte * FRAME_BYTES, since + 0.02 * (index + 1) + late)


def to_samples(seconds):
    return round(seconds * 8000)


def test_the_caller_is_laid_end_to_end():
    recording = StereoMixer(10.0)
    feed_caller(recording, 1.0, since=10.0)
    assert recording.available_samples == 8000
    assert mixed_channels(recording) == (b"c" * 8000, SILENCE * 8000)
    assert recording.available_samples == 0


def test_the_gateway_is_laid_where_it_is_heard_and_only_when_that_is_certain():
    recording = StereoMixer(0.0)
    recording.add_gateway(b"g" * 1600, starts_at=0.1)
    recording.add_gateway(b"h" * 1600, starts_at=0.3)
    feed_caller(recording, 0.2)
    assert mixed_channels(recording)[1] == SILENCE * to_samples(0.1) + b"g" * to_samples(0.1)
    feed_caller(recording, 0.6, since=0.2)
    assert mixed_channels(recording)[1] == b"g" * to_samples(0.1) + b"h" * to_samples(0.2) + SILENCE * to_samples(0.3)


def test_what_a_clear_threw_away_is_not_there():
    recording = StereoMixer(0.0)
    recording.add_gateway(b"g" * 16_000, starts_at=0.0)
    feed_caller(recording, 0.5)
    recording.clear_gateway(0.7)
    recording.add_gateway(b"h" * 800, starts_at=0.9)
    feed_caller(recording, 0.7, since=0.5)
    assert mixed_channels(recording)[1] == b"g" * to_samples(0.7) + SILENCE * to_samples(0.2) + b"h" * to_samples(
        0.1
    ) + SILENCE * to_samples(0.2)


def test_a_clear_of_what_was_heard_already_changes_nothing():
    recording = StereoMixer(0.0)
    recording.add_gateway(b"g" * 1600, starts_at=0.0)
    feed_caller(recording, 0.5)
    recording.take()
    recording.clear_gateway(0.3)
    assert mixed_channels(recording, 0.6)[1] == SILENCE * to_samples(0.1)


def test_rounding_leaves_no_gap_between_pieces():
    recording, starts = StereoMixer(0.1234567), 0.2
    for _ in range(20):
        recording.add_gateway(b"g" * 333, starts)
        starts += 333 / 8000
    feed_caller(recording, 1.2, since=0.1234567)
    assert mixed_channels(recording)[1].strip(SILENCE) == b"g" * 333 * 20


def test_jitter_and_a_busy_event_loop_neither_shift_nor_split_the_caller():
    random.seed(4)
    recording, sent = StereoMixer(0.0), 0
    for index in range(500):
        due = 0.02 * (index + 1)
        late = 0.3 if 200 <= index < 215 else random.random() * 0.04  # noqa: S311
        recording.add_caller(b"c" * FRAME_BYTES, max(due + late, sent))
        sent = max(due + late, sent)
    caller = recording.take()[0::2]
    assert caller.lstrip(SILENCE) == b"c" * 500 * FRAME_BYTES
    assert len(caller) <= to_samples(10.05)


def test_a_stall_of_seconds_after_which_all_comes_at_once_splits_nothing():
    recording = StereoMixer(0.0)
    feed_caller(recording, 2.0)
    for _ in range(150):
        recording.add_caller(b"d" * FRAME_BYTES, 5.0)
    feed_caller(recording, 2.0, since=5.0, byte=b"e")
    assert recording.take()[0::2] == b"c" * to_samples(2) + b"d" * to_samples(3) + b"e" * to_samples(2)


def test_sound_that_never_came_is_silence():
    recording = StereoMixer(0.0)
    feed_caller(recording, 2.0)
    feed_caller(recording, 4.0, since=3.0)  # a second of it was lost
    caller = recording.take()[0::2]
    assert len(caller) == pytest.approx(to_samples(7), abs=to_samples(0.05))
    assert caller.count(SILENCE) == pytest.approx(to_samples(1), abs=to_samples(0.05))
    assert caller.endswith(b"c" * to_samples(2)), "from a second after the loss on, it is in its place"


def test_a_stream_whose_first_sound_comes_late_is_in_its_place():
    recording = StereoMixer(0.0)
    feed_caller(recording, 1.0, since=0.5)
    assert recording.take()[0::2] == SILENCE * to_samples(0.5) + b"c" * to_samples(1)


def test_a_peer_whose_clock_is_fast_does_not_run_away():
    recording = StereoMixer(0.0)
    for index in range(5000):
        recording.add_caller(b"c" * FRAME_BYTES, 0.0199 * (index + 1))
    assert recording.available_samples == pytest.approx(0.0199 * 5000 * 8000, abs=to_samples(0.13))


def test_what_was_said_lately_can_be_hushed_and_its_time_stays():
    recording = StereoMixer(0.0)
    feed_caller(recording, 0.3)
    recording.mask()
    feed_caller(recording, 0.1, since=0.3)
    assert mixed_channels(recording)[0] == SILENCE * to_samples(0.3) + b"c" * to_samples(0.1)


def test_at_the_end_all_is_taken_until_then():
    recording = StereoMixer(0.0)
    recording.add_gateway(b"g" * 8000, starts_at=0.0)
    feed_caller(recording, 0.2)
    caller, gateway = mixed_channels(recording, until=0.5)
    assert caller == b"c" * to_samples(0.2) + SILENCE * to_samples(0.3)
    assert gateway == b"g" * to_samples(0.5)


def test_a_first_sound_that_was_late_costs_none_of_those_that_follow_at_once():
    """The event loop was busy when the stream began: 0.3 s of frames, all at the same moment."""
    recording = StereoMixer(0.0)
    for index in range(15):
        recording.add_caller(bytes([index]) * FRAME_BYTES, 0.3)
    feed_caller(recording, 0.5, since=0.3)
    assert mixed_channels(recording)[0] == b"".join(bytes([index]) * FRAME_BYTES for index in range(15)) + b"c" * 4000


def test_silence_before_a_first_sound_that_really_came_late_stays():
    recording = StereoMixer(0.0)
    feed_caller(recording, 1.0, since=0.5)
    assert mixed_channels(recording)[0] == SILENCE * to_samples(0.5) + b"c" * 8000
