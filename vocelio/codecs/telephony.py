"""Conversion of WAV files to telephone audio."""

import io

from vocelio.codecs import mulaw, wav
from vocelio.codecs.resample import Resampler

MAX_SOUND_BYTES = 30_000_000  # bytes of a WAV: five minutes at 48 kHz


def wav_to_mulaw(wav_file: bytes) -> bytes:
    """A WAV file's sound as it goes over a telephone line: mu-law. Raises WavError."""
    pcm, rate = wav.read(io.BytesIO(wav_file))
    return mulaw.encode(
        Resampler(rate, mulaw.SAMPLE_RATE).process(pcm, last=True) if rate != mulaw.SAMPLE_RATE else pcm
    )
