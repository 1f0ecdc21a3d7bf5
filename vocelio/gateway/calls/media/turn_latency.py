"""Latency of one turn, by part: from the end of the caller's speech to the first audio of the reply at the caller."""

from typing import Literal

LatencyPart = Literal["endpointing", "recognition", "engine", "synthesis", "playout"]
LATENCY_PARTS: tuple[LatencyPart, ...] = ("endpointing", "recognition", "engine", "synthesis", "playout")
"""Endpointing; the final transcript; the flow's step, with its commit; the first synthesized audio; its playback."""


class TurnLatency:
    """The current turn of one call. Instants are seconds of any one clock.

    Each part ends where the next one starts, so that they add up to the whole. If the answer is known before the caller
    is silent (a key, a partial transcript that decides, a fast provider), the turn starts there.
    """

    def __init__(self) -> None:
        self._boundaries: list[float] = []  # the turn's start and the ends of its parts so far
        self._prompt = ""

    def on_silence(self, speech_ended_at: float, detected_at: float) -> None:
        """Start the turn at the end of speech, unless the answer is known already."""
        if len(self._boundaries) < 3:
            self._boundaries, self._prompt = [speech_ended_at, detected_at], ""

    def reset(self) -> None:
        """Drop the turn: the caller speaks again."""
        self._boundaries, self._prompt = [], ""

    def on_transcript(self, now: float) -> None:
        """The answer is known, or that there is none."""
        if not self._boundaries:
            self._boundaries = [now, now]
        self._end_part("recognition", now)

    def on_reply(self, prompt: str, now: float) -> None:
        """The reply is queued."""
        if self._end_part("engine", now):
            self._prompt = prompt

    def on_first_audio(self, prompt: str, now: float) -> None:
        """The prompt's first audio is synthesized."""
        if prompt == self._prompt:
            self._end_part("synthesis", now)

    def on_playback(self, prompt: str, now: float) -> dict[LatencyPart, float]:
        """Return the seconds of each part if the prompt that plays now is the turn's reply."""
        if prompt != self._prompt or not self._end_part("playout", now):
            return {}
        seconds: dict[LatencyPart, float] = {
            part: end - begin
            for part, begin, end in zip(LATENCY_PARTS, self._boundaries, self._boundaries[1:], strict=False)
        }
        self._boundaries = []
        return seconds

    def _end_part(self, part: LatencyPart, now: float) -> bool:
        """End the part if it is the next one, and return whether it was."""
        if len(self._boundaries) != LATENCY_PARTS.index(part) + 1:
            return False
        self._boundaries.append(max(now, self._boundaries[-1]))
        return True
