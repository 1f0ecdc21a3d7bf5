import timeit
from time import process_time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vocelio.codecs import mulaw

NEGATIVE_ZERO = 0x7F


def test_every_code_except_negative_zero_round_trips():
    codes = bytes(code for code in range(256) if code != NEGATIVE_ZERO)
    assert mulaw.encode(mulaw.decode(codes)) == codes


def test_both_zeros_are_silence():
    zeros = bytes([mulaw.SILENCE_BYTE, NEGATIVE_ZERO])
    assert mulaw.decode(zeros) == bytes(4)
    assert mulaw.encode(bytes(4)) == bytes([mulaw.SILENCE_BYTE] * 2)


@given(st.integers(-32768, 32767))
def test_quantization_error_is_bounded(sample: int):
    decoded = mulaw.decode(mulaw.encode(sample.to_bytes(2, "little", signed=True)))
    # Full scale in mu-law is 32,124; the steps near zero are 8 and then a sixteenth of the sample.
    limited = max(-32124, min(32124, sample))
    assert abs(int.from_bytes(decoded, "little", signed=True) - limited) <= 8 + abs(sample) / 16


@given(st.lists(st.binary(max_size=50)))
def test_chunks_decode_like_the_whole(pieces: list[bytes]):
    assert b"".join(map(mulaw.decode, pieces)) == mulaw.decode(b"".join(pieces))


def test_incomplete_sample_is_rejected():
    with pytest.raises(ValueError, match="3 bytes"):
        mulaw.encode(b"abc")


def test_decoding_a_frame_takes_under_a_microsecond():
    frame = bytes(160)
    seconds = min(timeit.repeat(lambda: mulaw.decode(frame), timer=process_time, number=10_000)) / 10_000
    assert seconds < 1e-6
