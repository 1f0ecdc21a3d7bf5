"""A message that the caller leaves, sans-IO: where it begins, where it ends, and what of the sound belongs to it.

It is over after ``silence`` seconds without a voice (from the start, too) or ``longest`` seconds in all. Silence before
and after the words is left out but for a little. So sound without a voice is held until a voice follows.

What is voice and what is not, the detector of the call says: ``voice`` and ``quiet`` are its edges.
"""

from vocelio.codecs.mulaw import SAMPLE_RATE

LEAD_IN_SAMPLES = SAMPLE_RATE // 2
"""Samples kept before the first voice: the detector takes up to 0.14 s to notice, and may miss a breath."""

TAIL_SAMPLES = SAMPLE_RATE // 2
"""Samples kept after the last voice: no word's end is cut."""


class VoicemailTrimmer:
    """One message. ``speaking`` says whether the caller is at it already."""

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
        """The caller begins to speak."""
        self._silent_since, self._has_speech = None, True

    def on_silence(self, seconds_ago: float) -> None:
        """The caller fell silent so many seconds ago."""
        self._silent_since = self._received_samples - round(seconds_ago * SAMPLE_RATE)

    def on_audio(self, audio: bytes) -> bytes:
        """The caller's next sound (mu-law); gives what is certain to belong to the message."""
        self._received_samples += len(audio)
        self._buffer += audio
        if self._has_speech:
            return self._release()
        del self._buffer[:-LEAD_IN_SAMPLES]
        return b""

    @property
    def is_over(self) -> bool:
        """Whether the message has ended."""
        quiet = 0 if self._silent_since is None else self._received_samples - self._silent_since
        return quiet >= self._silence_samples or self._received_samples >= self._max_samples

    def _release(self) -> bytes:
        count = len(self._buffer)
        if self._silent_since is not None:
            count -= max(0, self._received_samples - self._silent_since - TAIL_SAMPLES)
        taken = bytes(self._buffer[: max(0, count)])
        del self._buffer[: len(taken)]
        return taken
