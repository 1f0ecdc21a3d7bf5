"""Conversion of WAV files to telephone audio.

Tones: pure sounds that say "now" without words.
"""

import io
import math
import struct

from vocelio.codecs import mulaw, wav
from vocelio.codecs.resample import Resampler

MAX_SOUND_BYTES = 30_000_000  # bytes of a WAV: five minutes at 48 kHz


def wav_to_mulaw(wav_file: bytes) -> bytes:
    """A WAV file's sound as it goes over a telephone line: mu-law. Raises WavError."""
    pcm, rate = wav.read(io.BytesIO(wav_file))
    return mulaw.encode(
        Resampler(rate, mulaw.SAMPLE_RATE).process(pcm, last=True) if rate != mulaw.SAMPLE_RATE else pcm
    )


BEEP_HZ = 1000.0
"""In the middle of what a telephone passes, and none of the frequencies of keys (ITU-T Q.23: 697 to 1633 Hz)."""

BEEP_SECONDS = 0.4
"""Long enough to be noticed, short enough not to be waited for."""

DEFAULT_LEVEL = 0.25
"""Of full scale, -12 dBFS: about as loud as a voice on a good line."""

RAMP_SECONDS = 0.01
"""In which a tone swells and fades: cut off at once it would begin and end with a click."""


def tone(hz: float, seconds: float, level: float = DEFAULT_LEVEL) -> bytes:
    """Mu-law of a sine; ``level`` is its amplitude, of full scale."""
    count = round(seconds * mulaw.SAMPLE_RATE)
    ramp = RAMP_SECONDS * mulaw.SAMPLE_RATE
    step = math.tau * hz / mulaw.SAMPLE_RATE
    peak = level * 32_767
    swells = (min(1.0, n / ramp, (count - n) / ramp) for n in range(count))
    samples = [round(peak * swell * math.sin(step * n)) for n, swell in enumerate(swells)]
    return mulaw.encode(struct.pack(f"<{count}h", *samples))


BEEP = tone(BEEP_HZ, BEEP_SECONDS)
"""What tells a caller to speak now (mu-law)."""
