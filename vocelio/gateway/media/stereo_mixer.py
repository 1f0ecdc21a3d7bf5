"""Mixes both sides of a call into stereo as the caller heard it, sans-IO: the caller left, the gateway right.

The caller's audio arrives all the time, so it is the clock of the recording: frames are appended, and only what must
have been lost on the way is filled with silence. The gateway's audio is sent ahead of real time; it is placed where
Twilio plays it, and what a ``clear`` dropped is removed again. So nothing later than the caller's newest audio is
certain, and nothing later is returned.

Times are seconds of any one clock, audio is mu-law. A frame costs an addition and two comparisons.
"""

from vocelio.codecs.mulaw import SAMPLE_RATE, SILENCE_BYTE

JITTER_TOLERANCE_SAMPLES = SAMPLE_RATE // 10
"""Samples that the caller's side may deviate from the clock: jitter and a busy event loop, without any loss."""

LOSS_WINDOW_SECONDS = 1.0
"""When no audio was on time within this window, some was lost (Twilio's error 31930), not delayed."""

_SILENCE_BYTE = bytes([SILENCE_BYTE])


class StereoMixer:
    """The audio of one stream."""

    def __init__(self, started_at: float) -> None:
        self._started_at = started_at
        self._taken_samples = 0  # samples returned so far: the start of the buffers
        self._caller = bytearray()
        self._gateway = bytearray()
        self._min_delay_samples = 0.0  # the smallest delay within this window
        self._window_started_at: float | None = None  # None before the first audio
        self._lead_in_samples = 0  # silence in the buffer before the first audio, which may only have been late

    @property
    def available_samples(self) -> int:
        """Samples that ``take`` returns."""
        return len(self._caller)

    def add_caller(self, audio: bytes, at: float) -> None:
        """Append audio of the caller, whose end was received at ``at``."""
        delay = (at - self._started_at) * SAMPLE_RATE - (self._taken_samples + len(self._caller) + len(audio))
        if self._window_started_at is None or at >= self._window_started_at + LOSS_WINDOW_SECONDS:
            delay = self._fill_gap(delay, at)
        if delay < 0 and self._lead_in_samples:
            delay += self._trim_lead_in(-delay)
        if delay < self._min_delay_samples:
            self._min_delay_samples = delay
        if delay >= -JITTER_TOLERANCE_SAMPLES:  # audio cannot arrive before it is spoken: surplus frames are dropped
            self._caller += audio

    def _fill_gap(self, delay_samples: float, at: float) -> float:
        """End a window: fill what was lost in it with silence; return the remaining delay of the present audio."""
        lost = delay_samples if self._window_started_at is None else self._min_delay_samples
        filled = round(lost) if lost > (0 if self._window_started_at is None else JITTER_TOLERANCE_SAMPLES) else 0
        self._caller += _SILENCE_BYTE * filled
        if self._window_started_at is None:
            self._lead_in_samples = filled
        self._window_started_at, self._min_delay_samples = at, delay_samples - filled
        return delay_samples - filled

    def _trim_lead_in(self, early_samples: float) -> int:
        """Remove silence before the first audio, which had only been late; return the number of samples."""
        trimmed = min(self._lead_in_samples, round(early_samples))
        del self._caller[:trimmed]
        self._lead_in_samples -= trimmed
        return trimmed

    def add_gateway(self, audio: bytes, starts_at: float) -> None:
        """Place audio that the caller hears from ``starts_at`` on, unless it is cleared."""
        gap = self._sample_offset(starts_at) - len(self._gateway)
        if gap > 1:  # one sample is rounding
            self._gateway += _SILENCE_BYTE * gap
        self._gateway += audio

    def clear_gateway(self, at: float) -> None:
        """Remove audio that would have been played from ``at`` on."""
        del self._gateway[max(0, self._sample_offset(at)) :]

    def mask(self) -> None:
        """Replace the buffered audio of the caller by silence, because it is confidential."""
        self._caller[:] = _SILENCE_BYTE * len(self._caller)

    def take(self, until: float | None = None) -> bytes:
        """Return what is certain by now, one byte of each side in turn; at the end, everything up to ``until``."""
        count = len(self._caller) if until is None else max(len(self._caller), self._sample_offset(until))
        stereo = bytearray(2 * count)
        stereo[0::2] = bytes(self._caller[:count]).ljust(count, _SILENCE_BYTE)
        stereo[1::2] = bytes(self._gateway[:count]).ljust(count, _SILENCE_BYTE)
        del self._caller[:count], self._gateway[:count]
        self._taken_samples += count
        self._lead_in_samples = max(0, self._lead_in_samples - count)
        return bytes(stereo)

    def _sample_offset(self, at: float) -> int:
        """Return the position in the buffers."""
        return round((at - self._started_at) * SAMPLE_RATE) - self._taken_samples
