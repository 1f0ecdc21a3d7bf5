"""What was found about a flow document, worded like a good compiler's."""

from collections.abc import Iterable, Mapping
from difflib import SequenceMatcher
from itertools import islice
from typing import Literal

import msgspec

MAX_DIAGNOSTICS = 100  # nobody reads more, and each hint costs a comparison with every known name
MAX_COMPARED_WORDS = 300
MAX_WORD_CHARACTERS = 64
MIN_SIMILARITY = 0.6  # of 1, as difflib has it


class Diagnostic(msgspec.Struct, frozen=True, order=True):
    """``path`` leads to the place (``nodes.ask.choices.sales.key``); ``hint`` says how to mend it, where possible."""

    path: str
    code: str
    message: str
    hint: str = ""
    severity: Literal["error", "warning"] = "error"

    def __str__(self) -> str:
        hint = f" ({self.hint})" if self.hint else ""
        return f"{self.path or 'document'}: {self.severity} [{self.code}]: {self.message}{hint}"


def did_you_mean(misspelled: str, candidates: Iterable[str]) -> str:
    """A hint naming the likeliest correct word, or nothing."""
    close, matcher = (MIN_SIMILARITY, ""), SequenceMatcher(b=misspelled[:MAX_WORD_CHARACTERS])
    for word in islice((word for word in candidates if word), MAX_COMPARED_WORDS):
        matcher.set_seq1(word)
        # difflib.get_close_matches measures all that are alike at all; the bounds come cheaper.
        if matcher.real_quick_ratio() >= close[0] and matcher.quick_ratio() >= close[0]:
            close = max(close, (matcher.ratio(), word))
    return f"did you mean `{close[1]}`?" if close[1] else ""


def truncate(word: object) -> str:
    """A word of the document, no longer than a message can bear."""
    written = str(word)
    return written if len(written) <= MAX_WORD_CHARACTERS else written[: MAX_WORD_CHARACTERS - 3] + "..."


class Diagnostics:
    """The problems found so far, at most ``MAX_PROBLEMS``: whoever looks for more stops when it is ``full``."""

    def __init__(self) -> None:
        self._items: list[Diagnostic] = []

    @property
    def is_full(self) -> bool:
        """True when nothing more is taken."""
        return len(self._items) >= MAX_DIAGNOSTICS

    @property
    def has_errors(self) -> bool:
        """True when there are errors, or more problems than can be told."""
        return self.is_full or any(problem.severity == "error" for problem in self._items)

    @property
    def by_path(self) -> list[Diagnostic]:
        """All of them, by path."""
        return sorted(self._items, key=lambda problem: (problem.path == "...", problem))

    def add(self, diagnostic: Diagnostic) -> None:
        """Take a problem. Past the limit it only counts that there are more."""
        if len(self._items) < MAX_DIAGNOSTICS - 1:
            self._items.append(diagnostic)
        elif not self.is_full:
            message = f"there are more problems than the {MAX_DIAGNOSTICS - 1} listed"
            self._items.append(Diagnostic("...", "too-many-problems", message))

    def extend(self, diagnostics: Iterable[Diagnostic]) -> None:
        """Take several."""
        for problem in diagnostics:
            if self.is_full:
                return
            self.add(problem)

    def error(self, path: str, code: str, message: str, hint: str = "") -> None:
        """An error: the flow cannot be used."""
        self.add(Diagnostic(path, code, message, hint))

    def unknown_word(
        self, path: str, code: str, message: str, misspelled: str, candidates: Iterable[str] | Mapping[str, object]
    ) -> None:
        """An error about a word that is none of the known ones; the likeliest of these is the hint."""
        if not self.is_full:
            self.error(path, code, message, did_you_mean(misspelled, candidates))

    def warning(self, path: str, code: str, message: str, hint: str = "") -> None:
        """A warning: the flow can be used."""
        self.add(Diagnostic(path, code, message, hint, "warning"))
