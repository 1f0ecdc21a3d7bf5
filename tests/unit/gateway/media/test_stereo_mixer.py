"""The stereo mixer: position of both sides, barge-in, loss and jitter."""

import random

import pytest

from vocelio.gateway.media.stereo_mixer import StereoMixer

SILENCE = b"\xff"
FRAME_BYTES = 160


def mixed_channels(recording, until=None):
    both = recording.take(until)
    return both[0::2], both[1::2]


def feed_caller(recording, seconds, since=0.0, byte=b"c", late=0.0):
    """Feed frames of the caller, each at its end."""
    for index in range(round(seconds / 0.02)):
        recording.add_caller(byte * FRAME_BYTES, since + 0.02 * (index + 1) + late)


def to_samples(seconds):
    return round(seconds * 8000)


def test_caller_frames_are_appended():
    recording = StereoMixer(10.0)
    feed_caller(recording, 1.0, since=10.0)
    assert recording.available_samples == 8000
    assert mixed_channels(recording) == (b"c" * 8000, SILENCE * 8000)
    assert recording.available_samples == 0


def test_gateway_audio_is_placed_where_it_is_heard():
    recording = StereoMixer(0.0)
    recording.add_gateway(b"g" * 1600, starts_at=0.1)
    recording.add_gateway(b"h" * 1600, starts_at=0.3)
    feed_caller(recording, 0.2)
    assert mixed_channels(recording)[1] == SILENCE * to_samples(0.1) + b"g" * to_samples(0.1)
    feed_caller(recording, 0.6, since=0.2)
    assert mixed_channels(recording)[1] == b"g" * to_samples(0.1) + b"h" * to_samples(0.2) + SILENCE * to_samples(0.3)


def test_cleared_audio_is_removed():
    recording = StereoMixer(0.0)
    recording.add_gateway(b"g" * 16_000, starts_at=0.0)
    feed_caller(recording, 0.5)
    recording.clear_gateway(0.7)
    recording.add_gateway(b"h" * 800, starts_at=0.9)
    feed_caller(recording, 0.7, since=0.5)
    assert mixed_channels(recording)[1] == b"g" * to_samples(0.7) + SILENCE * to_samples(0.2) + b"h" * to_samples(
        0.1
    ) + SILENCE * to_samples(0.2)


def test_clear_does_not_remove_played_audio():
    recording = StereoMixer(0.0)
    recording.add_gateway(b"g" * 1600, starts_at=0.0)
    feed_caller(recording, 0.5)
    recording.take()
    recording.clear_gateway(0.3)
    assert mixed_channels(recording, 0.6)[1] == SILENCE * to_samples(0.1)


def test_rounding_leaves_no_gap_between_chunks():
    recording, starts = StereoMixer(0.1234567), 0.2
    for _ in range(20):
        recording.add_gateway(b"g" * 333, starts)
        starts += 333 / 8000
    feed_caller(recording, 1.2, since=0.1234567)
    assert mixed_channels(recording)[1].strip(SILENCE) == b"g" * 333 * 20


def test_jitter_does_not_shift_or_split_the_caller():
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


def test_stall_followed_by_a_burst_does_not_split_the_caller():
    recording = StereoMixer(0.0)
    feed_caller(recording, 2.0)
    for _ in range(150):
        recording.add_caller(b"d" * FRAME_BYTES, 5.0)
    feed_caller(recording, 2.0, since=5.0, byte=b"e")
    assert recording.take()[0::2] == b"c" * to_samples(2) + b"d" * to_samples(3) + b"e" * to_samples(2)


def test_lost_audio_is_silence():
    recording = StereoMixer(0.0)
    feed_caller(recording, 2.0)
    feed_caller(recording, 4.0, since=3.0)  # a second of it was lost
    caller = recording.take()[0::2]
    assert len(caller) == pytest.approx(to_samples(7), abs=to_samples(0.05))
    assert caller.count(SILENCE) == pytest.approx(to_samples(1), abs=to_samples(0.05))
    assert caller.endswith(b"c" * to_samples(2)), "from a second after the loss on, it is in its place"


def test_late_first_audio_is_placed_correctly():
    recording = StereoMixer(0.0)
    feed_caller(recording, 1.0, since=0.5)
    assert recording.take()[0::2] == SILENCE * to_samples(0.5) + b"c" * to_samples(1)


def test_fast_clock_of_the_peer_is_corrected():
    recording = StereoMixer(0.0)
    for index in range(5000):
        recording.add_caller(b"c" * FRAME_BYTES, 0.0199 * (index + 1))
    assert recording.available_samples == pytest.approx(0.0199 * 5000 * 8000, abs=to_samples(0.13))


def test_masked_audio_keeps_its_duration():
    recording = StereoMixer(0.0)
    feed_caller(recording, 0.3)
    recording.mask()
    feed_caller(recording, 0.1, since=0.3)
    assert mixed_channels(recording)[0] == SILENCE * to_samples(0.3) + b"c" * to_samples(0.1)


def test_final_take_returns_everything():
    recording = StereoMixer(0.0)
    recording.add_gateway(b"g" * 8000, starts_at=0.0)
    feed_caller(recording, 0.2)
    caller, gateway = mixed_channels(recording, until=0.5)
    assert caller == b"c" * to_samples(0.2) + SILENCE * to_samples(0.3)
    assert gateway == b"g" * to_samples(0.5)


def test_burst_after_late_first_audio_is_kept():
    """The event loop was busy when the stream started: 0.3 s of frames arrive at the same moment."""
    recording = StereoMixer(0.0)
    for index in range(15):
        recording.add_caller(bytes([index]) * FRAME_BYTES, 0.3)
    feed_caller(recording, 0.5, since=0.3)
    assert mixed_channels(recording)[0] == b"".join(bytes([index]) * FRAME_BYTES for index in range(15)) + b"c" * 4000


def test_silence_before_late_first_audio_is_kept():
    recording = StereoMixer(0.0)
    feed_caller(recording, 1.0, since=0.5)
    assert mixed_channels(recording)[0] == SILENCE * to_samples(0.5) + b"c" * 8000
