"""One turn's latency, split into its parts: from the caller's falling silent to the answer's first sound in the ear."""

from typing import Literal

LatencyPart = Literal["endpointing", "recognition", "engine", "synthesis", "playout"]
LATENCY_PARTS: tuple[LatencyPart, ...] = ("endpointing", "recognition", "engine", "synthesis", "playout")
"""Deciding that the utterance has ended; its text; what the flow does about it, with its state kept; until the first
sound is made; until that is heard."""


class TurnLatency:
    """The present turn of one call. Instants are seconds of any one clock.

    Each part ends where the next begins, so that together they are the whole. When it is known what was said before the
    caller is silent (a key, a partial text that decides, a service that is quicker), the turn begins there.
    """

    def __init__(self) -> None:
        self._boundaries: list[float] = []  # the turn's begin and the ends of its parts so far
        self._prompt = ""

    def on_silence(self, speech_ended_at: float, detected_at: float) -> None:
        """The caller's last sound was at ``ended``. Nothing new, if it is known already what was said."""
        if len(self._boundaries) < 3:
            self._boundaries, self._prompt = [speech_ended_at, detected_at], ""

    def reset(self) -> None:
        """The caller speaks again."""
        self._boundaries, self._prompt = [], ""

    def on_transcript(self, now: float) -> None:
        """It is known what was said, or that it is not."""
        if not self._boundaries:
            self._boundaries = [now, now]
        self._end_part("recognition", now)

    def on_reply(self, prompt: str, now: float) -> None:
        """The answer is to be said."""
        if self._end_part("engine", now):
            self._prompt = prompt

    def on_first_audio(self, prompt: str, now: float) -> None:
        """The first sound of the prompt is there."""
        if prompt == self._prompt:
            self._end_part("synthesis", now)

    def on_playback(self, prompt: str, now: float) -> dict[LatencyPart, float]:
        """The prompt is in the caller's ear: the seconds of each part, if it was this turn's answer."""
        if prompt != self._prompt or not self._end_part("playout", now):
            return {}
        seconds: dict[LatencyPart, float] = {
            part: end - begin
            for part, begin, end in zip(LATENCY_PARTS, self._boundaries, self._boundaries[1:], strict=False)
        }
        self._boundaries = []
        return seconds

    def _end_part(self, part: LatencyPart, now: float) -> bool:
        """Whether that part was the next to end."""
        if len(self._boundaries) != LATENCY_PARTS.index(part) + 1:
            return False
        self._boundaries.append(max(now, self._boundaries[-1]))
        return True
