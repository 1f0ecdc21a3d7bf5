"""The caller's voice detection: where audible sound starts and ends in mu-law audio.

Every sample is compared with a threshold by a translation table (in C): a voice is far above it, line noise far below.
Positions are samples since the call was answered.
"""

import struct

from vocelio.codecs import mulaw

AUDIBLE_AMPLITUDE = 500
"""16-bit threshold of audible sound: -36 dBFS; speech peaks at -20 to -3 dBFS, line noise below -45 dBFS."""

MIN_LOUD_SAMPLES = 4
"""Minimum number of loud samples: a single click is not speech."""

MIN_GAP_SAMPLES = 1600
"""0.2 s of silence separate two sounds: longer than the closure of a plosive, shorter than a pause between turns."""

_PCM_BY_CODE = struct.unpack("<256h", mulaw.decode(bytes(range(256))))
_IS_LOUD_BY_CODE = bytes(abs(sample) >= AUDIBLE_AMPLITUDE for sample in _PCM_BY_CODE)


def voiced_span(audio: bytes) -> tuple[int, int]:
    """Return the first audible sample and the one after the last; (0, 0) if nothing is audible."""
    loud = audio.translate(_IS_LOUD_BY_CODE)
    if loud.count(1) < MIN_LOUD_SAMPLES:
        return 0, 0
    return loud.find(1), loud.rfind(1) + 1


class PlaybackDetector:
    """Tracks played audio: ``onset`` is the start of the latest sound, ``last_audible`` its end so far."""

    def __init__(self) -> None:
        self.onset = -1
        self.last_audible = -1
        self._is_cut = True

    def on_audio(self, audio: bytes, position: int) -> None:
        """Process audio that starts at ``position``."""
        first, end = voiced_span(audio)
        if not end:
            return
        if self._is_cut or position + first - self.last_audible >= MIN_GAP_SAMPLES:
            self.onset = position + first
            self._is_cut = False
        self.last_audible = position + end

    def on_clear(self) -> None:
        """The gateway cleared its audio: the next audio is a new sound."""
        self._is_cut = True

    def is_audible(self, position: int) -> bool:
        """Return whether a sound continues at ``position``."""
        return self.onset >= 0 and not self._is_cut and position - self.last_audible < MIN_GAP_SAMPLES
