"""Both sides of a call on one clock, sans-IO: the caller left, the gateway right, as the call was lived through.

The caller's sound comes all the time, so it is the clock of the recording: it is laid end to end, and only what must
have been lost on the way is filled with silence. The gateway's is sent ahead of real time; it is laid where Twilio
plays it, and what a ``clear`` threw away is taken out again. So nothing later than the caller's newest sound is
certain, and nothing later is given.

Feed it time in seconds of any one clock, sound in mu-law. A frame costs an addition and two comparisons.
"""

from vocelio.codecs.mulaw import SAMPLE_RATE, SILENCE

SLACK = SAMPLE_RATE // 10
"""Samples that the caller's side may be off the clock: what jitter and a busy event loop do without any loss."""

WINDOW = 1.0
"""Seconds: when not one sound within them came in time, sound was lost (Twilio's error 31930), not delayed."""

_HUSH = bytes([SILENCE])


class BothSides:
    """The recording of one stream, which began at ``began``."""

    def __init__(self, began: float) -> None:
        self._began = began
        self._taken = 0  # samples: where both sides below begin
        self._caller = bytearray()
        self._gateway = bytearray()
        self._least = 0.0  # samples that the timeliest sound of this window was late
        self._judged: float | None = None  # when the window began; None before the first sound
        self._led = 0  # samples of silence here before the first sound, which had not come yet, or was only late

    @property
    def waiting(self) -> int:
        """Samples that can be taken."""
        return len(self._caller)

    def caller(self, sound: bytes, at: float) -> None:
        """The caller's next sound, whose end came at ``at``."""
        late = (at - self._began) * SAMPLE_RATE - (self._taken + len(self._caller) + len(sound))
        if self._judged is None or at >= self._judged + WINDOW:
            late = self._judge(late, at)
        if late < 0 and self._led:
            late += self._lead_in(-late)
        if late < self._least:
            self._least = late
        if late >= -SLACK:  # what is said cannot be heard before: one sound too many is left out
            self._caller += sound

    def _judge(self, late: float, at: float) -> float:
        """A window is over: fill what was lost in it. Gives how late the sound at hand is then."""
        lost = late if self._judged is None else self._least
        filled = round(lost) if lost > (0 if self._judged is None else SLACK) else 0
        self._caller += _HUSH * filled
        if self._judged is None:
            self._led = filled
        self._judged, self._least = at, late - filled
        return late - filled

    def _lead_in(self, early: float) -> int:
        """Sound comes in a row behind a first one that was late: so much of the silence before that was none."""
        undone = min(self._led, round(early))
        del self._caller[:undone]
        self._led -= undone
        return undone

    def gateway(self, sound: bytes, starts: float) -> None:
        """Sound that the caller hears from ``starts`` on, if nothing clears it."""
        gap = self._place(starts) - len(self._gateway)
        if gap > 1:  # one sample is rounding
            self._gateway += _HUSH * gap
        self._gateway += sound

    def cleared(self, at: float) -> None:
        """What would have been heard from ``at`` on was thrown away."""
        del self._gateway[max(0, self._place(at)) :]

    def hush(self) -> None:
        """What the caller has said lately is not to be known."""
        self._caller[:] = _HUSH * len(self._caller)

    def take(self, until: float | None = None) -> bytes:
        """What is certain by now, a byte of each side in turn; at the recording's end all ``until`` then."""
        count = len(self._caller) if until is None else max(len(self._caller), self._place(until))
        both = bytearray(2 * count)
        both[0::2] = bytes(self._caller[:count]).ljust(count, _HUSH)
        both[1::2] = bytes(self._gateway[:count]).ljust(count, _HUSH)
        del self._caller[:count], self._gateway[:count]
        self._taken += count
        self._led = max(0, self._led - count)
        return bytes(both)

    def _place(self, at: float) -> int:
        """Samples from where both sides begin."""
        return round((at - self._began) * SAMPLE_RATE) - self._taken
