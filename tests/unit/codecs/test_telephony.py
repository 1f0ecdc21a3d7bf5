"""Generated tones: frequency, length, level and fades."""

import numpy
import pytest

from vocelio.codecs import mulaw, telephony


def to_samples(sound):
    return numpy.frombuffer(mulaw.decode(sound), dtype="<i2").astype(float)


@pytest.mark.parametrize("hz", [440.0, 1000.0])
def test_tone_has_one_frequency(hz):
    spectrum = numpy.abs(numpy.fft.rfft(to_samples(telephony.tone(hz, 1.0)))) ** 2
    assert spectrum.argmax() == round(hz)
    assert spectrum[round(hz) - 20 : round(hz) + 21].sum() > 0.99 * spectrum.sum()


def test_beep_has_its_length_and_level():
    assert len(telephony.BEEP) == telephony.BEEP_SECONDS * mulaw.SAMPLE_RATE
    assert to_samples(telephony.BEEP).max() == pytest.approx(telephony.DEFAULT_LEVEL * 32_767, rel=0.05)


def test_beep_fades_in_and_out():
    assert abs(to_samples(telephony.BEEP)[[0, 1, -1, -2]]).max() < 400
