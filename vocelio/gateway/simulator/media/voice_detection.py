"""What can be heard in mu-law, and when it began and ended: the caller's judgement of sound.

Loudness is judged sample by sample with a table, in C: a voice is far above the threshold, a line's noise far
below it. Positions are samples on the line's clock.
"""

import struct

from vocelio.codecs import mulaw

AUDIBLE_AMPLITUDE = 500
"""The 16-bit amplitude that counts as sound: -36 dBFS at its peak; speech peaks at -20 to -3, line noise below -45."""

MIN_LOUD_SAMPLES = 4
"""Loud samples that a stretch of audio must have: a single crackle is not speech."""

MIN_GAP_SAMPLES = 1600
"""Quiet of 0.2 s separates two sounds: longer than the closure of a plosive, shorter than any turn-taking."""

_PCM_BY_CODE = struct.unpack("<256h", mulaw.decode(bytes(range(256))))
_IS_LOUD_BY_CODE = bytes(abs(sample) >= AUDIBLE_AMPLITUDE for sample in _PCM_BY_CODE)


def voiced_span(audio: bytes) -> tuple[int, int]:
    """The first audible sample, and the one after the last; (0, 0) if nothing is audible."""
    loud = audio.translate(_IS_LOUD_BY_CODE)
    if loud.count(1) < MIN_LOUD_SAMPLES:
        return 0, 0
    return loud.find(1), loud.rfind(1) + 1


class PlaybackDetector:
    """Follows what is played to the caller: ``onset`` is the begin of the latest sound, ``last`` its end so far."""

    def __init__(self) -> None:
        self.onset = -1
        self.last_audible = -1
        self._is_cut = True

    def on_audio(self, audio: bytes, position: int) -> None:
        """Take audio of which the first sample is at ``at``."""
        first, after = voiced_span(audio)
        if not after:
            return
        if self._is_cut or position + first - self.last_audible >= MIN_GAP_SAMPLES:
            self.onset = position + first
            self._is_cut = False
        self.last_audible = position + after

    def on_clear(self) -> None:
        """The gateway threw away what it was saying: whatever is heard next is a new sound."""
        self._is_cut = True

    def is_audible(self, position: int) -> bool:
        """Whether a sound is going on at ``now``."""
        return self.onset >= 0 and not self._is_cut and position - self.last_audible < MIN_GAP_SAMPLES
