"""One turn's latency, split into its parts: from the caller's falling silent to the answer's first sound in the ear."""

from typing import Literal

Part = Literal["endpointing", "recognition", "engine", "synthesis", "playout"]
PARTS: tuple[Part, ...] = ("endpointing", "recognition", "engine", "synthesis", "playout")
"""Deciding that the utterance has ended; its text; what the flow does about it, with its state kept; until the first
sound is made; until that is heard."""


class Turn:
    """The present turn of one call. Instants are seconds of any one clock.

    Each part ends where the next begins, so that together they are the whole. When it is known what was said before the
    caller is silent (a key, a partial text that decides, a service that is quicker), the turn begins there.
    """

    def __init__(self) -> None:
        self._at: list[float] = []  # the turn's begin and the ends of its parts so far
        self._prompt = ""

    def silent(self, ended: float, noticed: float) -> None:
        """The caller's last sound was at ``ended``. Nothing new, if it is known already what was said."""
        if len(self._at) < 3:
            self._at, self._prompt = [ended, noticed], ""

    def forget(self) -> None:
        """The caller speaks again."""
        self._at, self._prompt = [], ""

    def understood(self, now: float) -> None:
        """It is known what was said, or that it is not."""
        if not self._at:
            self._at = [now, now]
        self._end("recognition", now)

    def speaks(self, prompt: str, now: float) -> None:
        """The answer is to be said."""
        if self._end("engine", now):
            self._prompt = prompt

    def sounds(self, prompt: str, now: float) -> None:
        """The first sound of the prompt is there."""
        if prompt == self._prompt:
            self._end("synthesis", now)

    def heard(self, prompt: str, now: float) -> dict[Part, float]:
        """The prompt is in the caller's ear: the seconds of each part, if it was this turn's answer."""
        if prompt != self._prompt or not self._end("playout", now):
            return {}
        seconds: dict[Part, float] = {
            part: end - begin for part, begin, end in zip(PARTS, self._at, self._at[1:], strict=False)
        }
        self._at = []
        return seconds

    def _end(self, part: Part, now: float) -> bool:
        """Whether that part was the next to end."""
        if len(self._at) != PARTS.index(part) + 1:
            return False
        self._at.append(max(now, self._at[-1]))
        return True
