"""Synthesize unintelligible speech: pitch and rhythm of speech without words, to test how flows handle no match."""

import math
import random
import struct

from vocelio.codecs import mulaw

PITCH_RANGE_HZ = (95.0, 180.0)
"""Range of the fundamental frequency."""

SYLLABLE_SAMPLES = 1800
"""225 ms: normal speech rate."""

FORMANT_RANGES_HZ = ((300.0, 850.0), (900.0, 2200.0))
"""Ranges of the first two formants of a vowel."""

PEAK_AMPLITUDE = 9000.0
"""16-bit amplitude: -11 dBFS, a voice on a good connection."""

BREATH_LEVEL = 0.05


def unintelligible_speech(seconds: float, rng: random.Random) -> bytes:
    """Return ``seconds`` of mu-law babble, determined by the state of ``rng``."""
    samples: list[int] = []
    while len(samples) < seconds * mulaw.SAMPLE_RATE:
        samples += _syllable(rng)
    samples = samples[: round(seconds * mulaw.SAMPLE_RATE)]
    return mulaw.encode(struct.pack(f"<{len(samples)}h", *samples))


def _syllable(rng: random.Random) -> list[int]:
    """Synthesize one vowel: harmonics weighted by their distance to the formants, faded in and out."""
    pitch = rng.uniform(*PITCH_RANGE_HZ)
    formants = [rng.uniform(*band) for band in FORMANT_RANGES_HZ]
    harmonics = [(pitch * n, _resonance(pitch * n, formants), rng.uniform(0, math.tau)) for n in range(1, 19)]
    total_gain = sum(gain for _, gain, _ in harmonics)
    return [_sample(n, harmonics, PEAK_AMPLITUDE / total_gain, rng) for n in range(SYLLABLE_SAMPLES)]


def _resonance(hz: float, formants: list[float]) -> float:
    return sum(1 / (1 + ((hz - formant) / 120.0) ** 2) for formant in formants) + 0.02


def _sample(n: int, harmonics: list[tuple[float, float, float]], gain: float, rng: random.Random) -> int:
    at = n / mulaw.SAMPLE_RATE
    voice = sum(level * math.sin(math.tau * hz * at + phase) for hz, level, phase in harmonics)
    envelope = math.sqrt(math.sin(math.pi * n / SYLLABLE_SAMPLES))
    return round(envelope * (gain * voice + BREATH_LEVEL * PEAK_AMPLITUDE * rng.uniform(-1, 1)))
