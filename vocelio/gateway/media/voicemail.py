"""Trims a voicemail message, sans-IO: where it starts and ends, and which audio belongs to it.

A message ends after ``silence_seconds`` without speech (also at the start) or ``max_seconds`` in all. Most of the
silence before and after the speech is removed, so audio without speech is buffered until speech follows. The call's
voice activity detector reports where speech starts and ends.
"""

from vocelio.codecs.mulaw import SAMPLE_RATE

LEAD_IN_SAMPLES = SAMPLE_RATE // 2
"""Samples kept before the speech: detection takes up to 0.14 s and may miss a breath."""

TAIL_SAMPLES = SAMPLE_RATE // 2
"""Samples kept after the speech, so that no word is cut."""


class VoicemailTrimmer:
    """Trims one message. ``speaking``: the caller is already speaking."""

    def __init__(self, silence_seconds: float, max_seconds: float, *, speaking: bool) -> None:
        self._silence_samples, self._max_samples = (
            round(silence_seconds * SAMPLE_RATE),
            round(max_seconds * SAMPLE_RATE),
        )
        self._buffer = bytearray()
        self._received_samples = 0  # samples, as are the next two
        self._silent_since: int | None = None if speaking else 0
        self._has_speech = speaking

    def on_voice(self) -> None:
        """Note that the caller has started to speak."""
        self._silent_since, self._has_speech = None, True

    def on_silence(self, seconds_ago: float) -> None:
        """Note that the caller stopped speaking ``seconds_ago``."""
        self._silent_since = self._received_samples - round(seconds_ago * SAMPLE_RATE)

    def on_audio(self, audio: bytes) -> bytes:
        """Process mu-law audio; return what certainly belongs to the message."""
        self._received_samples += len(audio)
        self._buffer += audio
        if self._has_speech:
            return self._release()
        del self._buffer[:-LEAD_IN_SAMPLES]
        return b""

    @property
    def is_over(self) -> bool:
        """Whether the message has ended."""
        silent_samples = 0 if self._silent_since is None else self._received_samples - self._silent_since
        return silent_samples >= self._silence_samples or self._received_samples >= self._max_samples

    def _release(self) -> bytes:
        count = len(self._buffer)
        if self._silent_since is not None:
            count -= max(0, self._received_samples - self._silent_since - TAIL_SAMPLES)
        released = bytes(self._buffer[: max(0, count)])
        del self._buffer[: len(released)]
        return released
