"""Tones: of that pitch, that long, that loud, without a click."""

import numpy
import pytest

from vocelio.codecs import mulaw, telephony


def to_samples(sound):
    return numpy.frombuffer(mulaw.decode(sound), dtype="<i2").astype(float)


@pytest.mark.parametrize("hz", [440.0, 1000.0])
def test_a_tone_has_one_pitch(hz):
    spectrum = numpy.abs(numpy.fft.rfft(to_samples(telephony.tone(hz, 1.0)))) ** 2
    assert spectrum.argmax() == round(hz)
    assert spectrum[round(hz) - 20 : round(hz) + 21].sum() > 0.99 * spectrum.sum()


def test_the_beep_is_as_long_and_as_loud_as_it_says():
    assert len(telephony.BEEP) == telephony.BEEP_SECONDS * mulaw.SAMPLE_RATE
    assert to_samples(telephony.BEEP).max() == pytest.approx(telephony.DEFAULT_LEVEL * 32_767, rel=0.05)


def test_it_begins_and_ends_in_silence():
    assert abs(to_samples(telephony.BEEP)[[0, 1, -1, -2]]).max() < 400
