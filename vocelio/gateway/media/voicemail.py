"""A message that the caller leaves, sans-IO: where it begins, where it ends, and what of the sound belongs to it.

It is over after ``silence`` seconds without a voice (from the start, too) or ``longest`` seconds in all. Silence before
and after the words is left out but for a little. So sound without a voice is held until a voice follows.

What is voice and what is not, the detector of the call says: ``voice`` and ``quiet`` are its edges.
"""

from vocelio.codecs.mulaw import SAMPLE_RATE

LEAD = SAMPLE_RATE // 2
"""Samples kept before the first voice: the detector takes up to 0.14 s to notice, and may miss a breath."""

TAIL = SAMPLE_RATE // 2
"""Samples kept after the last voice: no word's end is cut."""


class Voicemail:
    """One message. ``speaking`` says whether the caller is at it already."""

    def __init__(self, silence: float, longest: float, *, speaking: bool) -> None:
        self._silence, self._longest = round(silence * SAMPLE_RATE), round(longest * SAMPLE_RATE)
        self._held = bytearray()
        self._heard = 0  # samples, as are the next two
        self._quiet_since: int | None = None if speaking else 0
        self._spoken = speaking

    def voice(self) -> None:
        """The caller begins to speak."""
        self._quiet_since, self._spoken = None, True

    def quiet(self, ago: float) -> None:
        """The caller fell silent so many seconds ago."""
        self._quiet_since = self._heard - round(ago * SAMPLE_RATE)

    def hear(self, sound: bytes) -> bytes:
        """The caller's next sound (mu-law); gives what is certain to belong to the message."""
        self._heard += len(sound)
        self._held += sound
        if self._spoken:
            return self._take()
        del self._held[:-LEAD]
        return b""

    @property
    def over(self) -> bool:
        """Whether the message has ended."""
        quiet = 0 if self._quiet_since is None else self._heard - self._quiet_since
        return quiet >= self._silence or self._heard >= self._longest

    def _take(self) -> bytes:
        count = len(self._held)
        if self._quiet_since is not None:
            count -= max(0, self._heard - self._quiet_since - TAIL)
        taken = bytes(self._held[: max(0, count)])
        del self._held[: len(taken)]
        return taken
