"""What was found about a flow document, worded like a good compiler's."""

from collections.abc import Iterable, Mapping
from difflib import SequenceMatcher
from itertools import islice
from typing import Literal

import msgspec

MAX_PROBLEMS = 100  # nobody reads more, and each hint costs a comparison with every known name
MAX_COMPARED = 300
MAX_WORD = 64
ALIKE = 0.6  # of 1, as difflib has it


class Problem(msgspec.Struct, frozen=True, order=True):
    """``path`` leads to the place (``nodes.ask.choices.sales.key``); ``hint`` says how to mend it, where possible."""

    path: str
    code: str
    message: str
    hint: str = ""
    severity: Literal["error", "warning"] = "error"

    def __str__(self) -> str:
        hint = f" ({self.hint})" if self.hint else ""
        return f"{self.path or 'document'}: {self.severity} [{self.code}]: {self.message}{hint}"


def did_you_mean(wrong: str, known: Iterable[str]) -> str:
    """A hint naming the likeliest correct word, or nothing."""
    close, matcher = (ALIKE, ""), SequenceMatcher(b=wrong[:MAX_WORD])
    for word in islice((word for word in known if word), MAX_COMPARED):
        matcher.set_seq1(word)
        # difflib.get_close_matches measures all that are alike at all; the bounds come cheaper.
        if matcher.real_quick_ratio() >= close[0] and matcher.quick_ratio() >= close[0]:
            close = max(close, (matcher.ratio(), word))
    return f"did you mean `{close[1]}`?" if close[1] else ""


def short(word: object) -> str:
    """A word of the document, no longer than a message can bear."""
    written = str(word)
    return written if len(written) <= MAX_WORD else written[: MAX_WORD - 3] + "..."


class Report:
    """The problems found so far, at most ``MAX_PROBLEMS``: whoever looks for more stops when it is ``full``."""

    def __init__(self) -> None:
        self._found: list[Problem] = []

    @property
    def full(self) -> bool:
        """True when nothing more is taken."""
        return len(self._found) >= MAX_PROBLEMS

    @property
    def failed(self) -> bool:
        """True when there are errors, or more problems than can be told."""
        return self.full or any(problem.severity == "error" for problem in self._found)

    @property
    def problems(self) -> list[Problem]:
        """All of them, by path."""
        return sorted(self._found, key=lambda problem: (problem.path == "...", problem))

    def add(self, problem: Problem) -> None:
        """Take a problem. Past the limit it only counts that there are more."""
        if len(self._found) < MAX_PROBLEMS - 1:
            self._found.append(problem)
        elif not self.full:
            message = f"there are more problems than the {MAX_PROBLEMS - 1} listed"
            self._found.append(Problem("...", "too-many-problems", message))

    def extend(self, problems: Iterable[Problem]) -> None:
        """Take several."""
        for problem in problems:
            if self.full:
                return
            self.add(problem)

    def error(self, path: str, code: str, message: str, hint: str = "") -> None:
        """An error: the flow cannot be used."""
        self.add(Problem(path, code, message, hint))

    def unknown(
        self, path: str, code: str, message: str, wrong: str, known: Iterable[str] | Mapping[str, object]
    ) -> None:
        """An error about a word that is none of the known ones; the likeliest of these is the hint."""
        if not self.full:
            self.error(path, code, message, did_you_mean(wrong, known))

    def warning(self, path: str, code: str, message: str, hint: str = "") -> None:
        """A warning: the flow can be used."""
        self.add(Problem(path, code, message, hint, "warning"))
