"""Sound with the pitch and the rhythm of speech and no words in it: for the flow's "I did not understand"."""

import math
import random
import struct

from vocelio.codecs import mulaw

PITCH_RANGE_HZ = (95.0, 180.0)
"""A voice's fundamental, which wanders between these."""

SYLLABLE_SAMPLES = 1800
"""225 ms: the pace of ordinary talk."""

FORMANT_RANGES_HZ = ((300.0, 850.0), (900.0, 2200.0))
"""Where the first two resonances of a vowel lie."""

PEAK_AMPLITUDE = 9000.0
"""16-bit amplitude: -11 dBFS, as a voice on a good line."""

BREATH_LEVEL = 0.05


def unintelligible_speech(seconds: float, rng: random.Random) -> bytes:
    """Mu-law of ``seconds`` of babble, different for each state of ``rng``."""
    samples: list[int] = []
    while len(samples) < seconds * mulaw.SAMPLE_RATE:
        samples += _syllable(rng)
    samples = samples[: round(seconds * mulaw.SAMPLE_RATE)]
    return mulaw.encode(struct.pack(f"<{len(samples)}h", *samples))


def _syllable(rng: random.Random) -> list[int]:
    """One vowel: a few harmonics, the louder the nearer they are to a formant, swelling and fading."""
    pitch = rng.uniform(*PITCH_RANGE_HZ)
    formants = [rng.uniform(*band) for band in FORMANT_RANGES_HZ]
    harmonics = [(pitch * n, _resonance(pitch * n, formants), rng.uniform(0, math.tau)) for n in range(1, 19)]
    loudest = sum(gain for _, gain, _ in harmonics)
    return [_sample(n, harmonics, PEAK_AMPLITUDE / loudest, rng) for n in range(SYLLABLE_SAMPLES)]


def _resonance(hz: float, formants: list[float]) -> float:
    return sum(1 / (1 + ((hz - formant) / 120.0) ** 2) for formant in formants) + 0.02


def _sample(n: int, harmonics: list[tuple[float, float, float]], gain: float, rng: random.Random) -> int:
    at = n / mulaw.SAMPLE_RATE
    voice = sum(level * math.sin(math.tau * hz * at + phase) for hz, level, phase in harmonics)
    swell = math.sqrt(math.sin(math.pi * n / SYLLABLE_SAMPLES))
    return round(swell * (gain * voice + BREATH_LEVEL * PEAK_AMPLITUDE * rng.uniform(-1, 1)))
