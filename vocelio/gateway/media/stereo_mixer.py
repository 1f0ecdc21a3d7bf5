"""Both sides of a call on one clock, sans-IO: the caller left, the gateway right, as the call was lived through.

The caller's sound comes all the time, so it is the clock of the recording: it is laid end to end, and only what must
have been lost on the way is filled with silence. The gateway's is sent ahead of real time; it is laid where Twilio
plays it, and what a ``clear`` threw away is taken out again. So nothing later than the caller's newest sound is
certain, and nothing later is given.

Feed it time in seconds of any one clock, sound in mu-law. A frame costs an addition and two comparisons.
"""

from vocelio.codecs.mulaw import SAMPLE_RATE, SILENCE_BYTE

JITTER_TOLERANCE_SAMPLES = SAMPLE_RATE // 10
"""Samples that the caller's side may be off the clock: what jitter and a busy event loop do without any loss."""

LOSS_WINDOW_SECONDS = 1.0
"""Seconds: when not one sound within them came in time, sound was lost (Twilio's error 31930), not delayed."""

_SILENCE_BYTE = bytes([SILENCE_BYTE])


class StereoMixer:
    """The recording of one stream, which began at ``began``."""

    def __init__(self, started_at: float) -> None:
        self._started_at = started_at
        self._taken_samples = 0  # samples: where both sides below begin
        self._caller = bytearray()
        self._gateway = bytearray()
        self._min_delay_samples = 0.0  # samples that the timeliest sound of this window was late
        self._window_started_at: float | None = None  # when the window began; None before the first sound
        self._lead_in_samples = (
            0  # samples of silence here before the first sound, which had not come yet, or was only late
        )

    @property
    def available_samples(self) -> int:
        """Samples that can be taken."""
        return len(self._caller)

    def add_caller(self, audio: bytes, at: float) -> None:
        """The caller's next sound, whose end came at ``at``."""
        late = (at - self._started_at) * SAMPLE_RATE - (self._taken_samples + len(self._caller) + len(audio))
        if self._window_started_at is None or at >= self._window_started_at + LOSS_WINDOW_SECONDS:
            late = self._fill_gap(late, at)
        if late < 0 and self._lead_in_samples:
            late += self._trim_lead_in(-late)
        if late < self._min_delay_samples:
            self._min_delay_samples = late
        if late >= -JITTER_TOLERANCE_SAMPLES:  # what is said cannot be heard before: one sound too many is left out
            self._caller += audio

    def _fill_gap(self, delay_samples: float, at: float) -> float:
        """A window is over: fill what was lost in it. Gives how late the sound at hand is then."""
        lost = delay_samples if self._window_started_at is None else self._min_delay_samples
        filled = round(lost) if lost > (0 if self._window_started_at is None else JITTER_TOLERANCE_SAMPLES) else 0
        self._caller += _SILENCE_BYTE * filled
        if self._window_started_at is None:
            self._lead_in_samples = filled
        self._window_started_at, self._min_delay_samples = at, delay_samples - filled
        return delay_samples - filled

    def _trim_lead_in(self, early_samples: float) -> int:
        """Sound comes in a row behind a first one that was late: so much of the silence before that was none."""
        undone = min(self._lead_in_samples, round(early_samples))
        del self._caller[:undone]
        self._lead_in_samples -= undone
        return undone

    def add_gateway(self, audio: bytes, starts_at: float) -> None:
        """Sound that the caller hears from ``starts`` on, if nothing clears it."""
        gap = self._sample_offset(starts_at) - len(self._gateway)
        if gap > 1:  # one sample is rounding
            self._gateway += _SILENCE_BYTE * gap
        self._gateway += audio

    def clear_gateway(self, at: float) -> None:
        """What would have been heard from ``at`` on was thrown away."""
        del self._gateway[max(0, self._sample_offset(at)) :]

    def mask(self) -> None:
        """What the caller has said lately is not to be known."""
        self._caller[:] = _SILENCE_BYTE * len(self._caller)

    def take(self, until: float | None = None) -> bytes:
        """What is certain by now, a byte of each side in turn; at the recording's end all ``until`` then."""
        count = len(self._caller) if until is None else max(len(self._caller), self._sample_offset(until))
        both = bytearray(2 * count)
        both[0::2] = bytes(self._caller[:count]).ljust(count, _SILENCE_BYTE)
        both[1::2] = bytes(self._gateway[:count]).ljust(count, _SILENCE_BYTE)
        del self._caller[:count], self._gateway[:count]
        self._taken_samples += count
        self._lead_in_samples = max(0, self._lead_in_samples - count)
        return bytes(both)

    def _sample_offset(self, at: float) -> int:
        """Samples from where both sides begin."""
        return round((at - self._started_at) * SAMPLE_RATE) - self._taken_samples
