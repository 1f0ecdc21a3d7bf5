import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vocelio.codecs._audioop import audioop
from vocelio.codecs.resample import Resampler

RATES = st.sampled_from([(8000, 16000), (22050, 8000), (16000, 8000), (44100, 8000), (8000, 8000)])


def tone_pcm(hertz: float, rate: int, seconds: float = 0.5, level: int = 8000) -> bytes:
    count = int(rate * seconds)
    samples = (round(level * math.sin(2 * math.pi * hertz * n / rate)) for n in range(count))
    return b"".join(sample.to_bytes(2, "little", signed=True) for sample in samples)


def resample_in_pieces(pcm: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(cut % (len(pcm) + 1) for cut in cuts), len(pcm)]
    return [pcm[start:end] for start, end in pairwise(edges)]


@given(RATES, st.binary(max_size=4000), st.lists(st.integers(0, 4000), max_size=8))
def test_chunking_does_not_change_the_output(rates: tuple[int, int], pcm: bytes, cuts: list[int]):
    whole = Resampler(*rates).process(pcm, last=True)
    resampler = Resampler(*rates)
    pieces = [resampler.process(piece) for piece in resample_in_pieces(pcm, cuts)]
    assert b"".join(pieces) + resampler.process(b"", last=True) == whole


@given(RATES, st.integers(0, 3000))
def test_output_length_follows_the_rates(rates: tuple[int, int], samples: int):
    source, target = rates
    out = Resampler(source, target).process(bytes(2 * samples), last=True)
    assert abs(len(out) / 2 - samples * target / source) <= 1


@pytest.mark.parametrize(("source", "target"), [(8000, 16000), (22050, 8000)])
def test_tone_keeps_its_level(source: int, target: int):
    out = Resampler(source, target).process(tone_pcm(1000, source), last=True)
    assert audioop.rms(out, 2) == pytest.approx(8000 / math.sqrt(2), rel=0.02)


def test_frequencies_above_nyquist_are_filtered_out():
    out = Resampler(16000, 8000).process(tone_pcm(6000, 16000), last=True)
    assert audioop.rms(out[200:-200], 2) < 10


def test_loud_input_is_clipped():
    square = (b"\xff\x7f" * 40 + b"\x00\x80" * 40) * 20
    out = Resampler(8000, 16000).process(square, last=True)
    assert audioop.rms(out, 2) > 30000


def test_processing_after_the_end_raises():
    resampler = Resampler(8000, 16000)
    resampler.process(b"", last=True)
    with pytest.raises(ValueError, match="ended"):
        resampler.process(b"")
