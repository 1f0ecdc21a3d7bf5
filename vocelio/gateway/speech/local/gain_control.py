"""Bringing an utterance to the level that the recogniser expects, with one gain for all of it.

Callers are up to 20 dB louder or softer than each other, and the model compares absolute levels: at a third
of the usual one it understood a fifth less, at a tenth hardly anything. The first half second of speech is
kept back to measure it; recognising is thirty times faster than speaking, so that costs nothing at the end.
"""

from vocelio.codecs._audioop import audioop

FRAME_BYTES = 320
"""Bytes of 8 kHz PCM in which the level is measured: 20 ms."""

MEASUREMENT_FRAMES = 25
"""Frames from the first sound on: half a second, a vowel at least."""

MIN_SPEECH_RMS = 100
"""RMS of 16-bit samples from which a frame counts as sound, -50 dBFS: over line noise, under soft speech."""

TARGET_PEAK_RMS = 7200
"""RMS of the loudest frame in speech at a normal telephone level, -20 dBFS on average."""

MIN_GAIN, MAX_GAIN = 0.25, 10.0


class AutomaticGainControl:
    """Takes 8 kHz PCM in whole samples, gives it back at the usual level, half a second late at first."""

    def __init__(self) -> None:
        self._gain: float | None = None
        self._buffer = bytearray()  # bounded by how long an utterance may be
        self._measured_bytes = 0  # bytes of what is kept
        self._speech_frames = 0  # since the first sound
        self._peak_rms = 0

    def process(self, pcm: bytes, last: bool = False) -> bytes:
        """What can be given by now; with ``last``, everything."""
        if self._gain is not None:
            return audioop.mul(pcm, 2, self._gain)
        self._buffer += pcm
        self._measure()
        if self._speech_frames < MEASUREMENT_FRAMES and not last:
            return b""
        self._gain = min(MAX_GAIN, max(MIN_GAIN, TARGET_PEAK_RMS / max(1, self._peak_rms)))
        return audioop.mul(bytes(self._buffer), 2, self._gain)

    def _measure(self) -> None:
        while len(self._buffer) - self._measured_bytes >= FRAME_BYTES and self._speech_frames < MEASUREMENT_FRAMES:
            level = audioop.rms(self._buffer[self._measured_bytes : self._measured_bytes + FRAME_BYTES], 2)
            self._measured_bytes += FRAME_BYTES
            if self._speech_frames or level >= MIN_SPEECH_RMS:
                self._speech_frames += 1
                self._peak_rms = max(self._peak_rms, level)
