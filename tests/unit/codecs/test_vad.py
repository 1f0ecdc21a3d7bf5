import math
import timeit
from itertools import pairwise
from time import process_time

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vocelio.codecs._audioop import audioop
from vocelio.codecs.vad import FRAME_BYTES, SpeechEnded, SpeechStarted, VadEvent, VoiceActivityDetector

RATE = 8000


def noise_pcm(seconds: float, level: float, seed: int = 1) -> bytes:
    samples = numpy.random.default_rng(seed).normal(0, level, int(RATE * seconds))
    return samples.clip(-32768, 32767).astype("<i2").tobytes()


def vowel_pcm(seconds: float, level: int = 6000, pitch: int = 120) -> bytes:
    """Something like a spoken "ah": the pitch's harmonics, strongest about 700 and 1,200 Hz."""
    harmonics = [
        (
            pitch * n,
            math.exp(-(((pitch * n - 700) / 200) ** 2)) + math.exp(-(((pitch * n - 1200) / 300) ** 2)),
        )
        for n in range(1, 25)
    ]
    total = sum(weight for _, weight in harmonics)
    samples = (
        round(level * 2 * sum(w * math.sin(2 * math.pi * f * n / RATE) for f, w in harmonics) / total)
        for n in range(int(RATE * seconds))
    )
    return b"".join(sample.to_bytes(2, "little", signed=True) for sample in samples)


AH = vowel_pcm(0.5)
ONE_WORD = noise_pcm(1, 20) + AH + noise_pcm(1, 20)
TWO_WORDS = noise_pcm(1, 20) + AH + noise_pcm(0.3, 20) + AH + noise_pcm(1, 20)


def vad_events(pcm: bytes, silence: float = 0.6) -> tuple[VadEvent, ...]:
    return VoiceActivityDetector(silence).feed(pcm)


def test_word_gives_a_start_and_an_end():
    started, ended = vad_events(ONE_WORD)
    assert isinstance(started, SpeechStarted)
    assert isinstance(ended, SpeechEnded)
    assert started.started_at == pytest.approx(1.0, abs=0.021)
    assert 0.04 < started.detected_at - 1.0 <= 0.08
    assert ended.ended_at == pytest.approx(1.5, abs=0.061)
    assert ended.detected_at - ended.ended_at == pytest.approx(0.6)


def test_short_pause_does_not_end_the_utterance():
    assert len(vad_events(TWO_WORDS, silence=0.6)) == 2
    assert len(vad_events(TWO_WORDS, silence=0.2)) == 4


def test_silence_can_be_changed_during_speech():
    detector = VoiceActivityDetector()
    assert len(detector.feed(noise_pcm(1, 20) + AH)) == 1
    detector.silence_seconds = 0.3
    (ended,) = detector.feed(noise_pcm(0.5, 20))
    assert isinstance(ended, SpeechEnded)
    assert ended.detected_at - ended.ended_at == pytest.approx(0.3)


def test_zero_silence_is_rejected():
    with pytest.raises(ValueError, match="longer"):
        VoiceActivityDetector(silence_seconds=0)


@pytest.mark.parametrize("level", [0, 5, 40, 160])
def test_line_noise_is_not_speech(level: float):
    assert vad_events(noise_pcm(3, level)) == ()


@pytest.mark.parametrize("level", [20, 80])
def test_noise_after_digital_silence_is_not_speech(level: float):
    assert vad_events(bytes(RATE) + noise_pcm(2, level)) == ()


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize(
    "click", [noise_pcm(0.002, 20000), noise_pcm(0.01, 6000), noise_pcm(0.02, 9000), b"\xff\x7f" * 8]
)
def test_click_is_not_speech(click: bytes, seed: int):
    before = 2 * (RATE + 17 * seed)
    line = noise_pcm(2, 20, seed)
    mixed = line[:before] + click + line[before + len(click) :]
    assert vad_events(mixed) == ()


def test_speech_at_the_start_is_detected_immediately():
    (started,) = vad_events(AH)
    assert started.detected_at <= 0.08


def test_stream_that_ends_during_speech_is_speaking():
    detector = VoiceActivityDetector()
    detector.feed(noise_pcm(1, 20) + AH)
    assert detector.is_speaking
    assert detector.processed_seconds == pytest.approx(1.5)


def test_quiet_speech_is_detected():
    quiet = audioop.mul(AH, 2, 0.05)
    assert len(vad_events(noise_pcm(1, 10) + quiet + noise_pcm(1, 10))) == 2


@given(st.lists(st.integers(0, len(TWO_WORDS)), max_size=60))
def test_chunking_does_not_change_the_events(cuts: list[int]):
    detector = VoiceActivityDetector(silence_seconds=0.2)
    bounds = [0, *sorted(cuts), len(TWO_WORDS)]
    events = sum((detector.feed(TWO_WORDS[start:end]) for start, end in pairwise(bounds)), ())
    assert events == vad_events(TWO_WORDS, silence=0.2)


def test_frames_give_the_same_events_as_the_whole():
    detector = VoiceActivityDetector(silence_seconds=0.2)
    frames = (TWO_WORDS[at : at + FRAME_BYTES] for at in range(0, len(TWO_WORDS), FRAME_BYTES))
    assert sum((detector.feed(frame) for frame in frames), ()) == vad_events(TWO_WORDS, silence=0.2)


@given(st.lists(st.binary(max_size=2000), max_size=30), st.sampled_from([0.02, 0.1, 0.6]))
def test_events_alternate_in_time_order(pieces: list[bytes], silence: float):
    detector = VoiceActivityDetector(silence)
    last = 0.0
    for number, event in enumerate(event for piece in pieces for event in detector.feed(piece)):
        assert isinstance(event, SpeechStarted if number % 2 == 0 else SpeechEnded)
        assert last <= event.detected_at <= detector.processed_seconds
        assert (event.started_at if isinstance(event, SpeechStarted) else event.ended_at) < event.detected_at
        last = event.detected_at


def test_frame_takes_a_few_microseconds():
    detector = VoiceActivityDetector()
    silence = bytes(FRAME_BYTES)
    seconds = min(timeit.repeat(lambda: detector.feed(silence), timer=process_time, number=5_000)) / 5_000
    assert seconds < 10e-6  # 1.0 us as measured
