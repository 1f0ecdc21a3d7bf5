"""Sounds for a phone line, as mu-law: conversion of WAV files, and generated tones."""

import io
import math
import struct

from vocelio.codecs import mulaw, wav
from vocelio.codecs.resample import Resampler

MAX_SOUND_BYTES = 30_000_000  # of a WAV file: five minutes at 48 kHz

BEEP_HZ = 1000.0
"""In the middle of the telephone band, and not a DTMF frequency (ITU-T Q.23: 697 to 1633 Hz)."""

BEEP_SECONDS = 0.4
"""Long enough to be noticed, short enough not to delay the caller."""

DEFAULT_LEVEL = 0.25
"""Of full scale, -12 dBFS: about as loud as a voice on a good line."""

RAMP_SECONDS = 0.01
"""Fade-in and fade-out of a tone, without which it would start and end with a click."""


def wav_to_mulaw(wav_file: bytes) -> bytes:
    """Convert a WAV file to 8 kHz mu-law. Raises WavError."""
    pcm, rate = wav.read(io.BytesIO(wav_file))
    return mulaw.encode(
        Resampler(rate, mulaw.SAMPLE_RATE).process(pcm, last=True) if rate != mulaw.SAMPLE_RATE else pcm
    )


def tone(hz: float, seconds: float, level: float = DEFAULT_LEVEL) -> bytes:
    """Generate a sine tone; ``level`` is its amplitude relative to full scale."""
    count = round(seconds * mulaw.SAMPLE_RATE)
    ramp = RAMP_SECONDS * mulaw.SAMPLE_RATE
    step = math.tau * hz / mulaw.SAMPLE_RATE
    peak = level * 32_767
    gains = (min(1.0, n / ramp, (count - n) / ramp) for n in range(count))
    samples = [round(peak * gain * math.sin(step * n)) for n, gain in enumerate(gains)]
    return mulaw.encode(struct.pack(f"<{count}h", *samples))


BEEP = tone(BEEP_HZ, BEEP_SECONDS)
"""The tone after which a caller speaks (mu-law)."""
