"""Diagnostics: errors and warnings about a flow document, each with its path and, where possible, a fix."""

from collections.abc import Iterable, Mapping
from difflib import SequenceMatcher
from itertools import islice
from typing import Literal

import msgspec

MAX_DIAGNOSTICS = 100  # more are not read, and each hint costs a comparison with every known name
MAX_COMPARED_WORDS = 300
MAX_WORD_CHARACTERS = 64
MIN_SIMILARITY = 0.6  # of 1, as difflib measures it


class Diagnostic(msgspec.Struct, frozen=True, order=True):
    """One error or warning.

    ``path`` is its position in the document (``nodes.ask.choices.sales.key``), ``hint`` how to fix it, where known.
    """

    path: str
    code: str
    message: str
    hint: str = ""
    severity: Literal["error", "warning"] = "error"

    def __str__(self) -> str:
        hint = f" ({self.hint})" if self.hint else ""
        return f"{self.path or 'document'}: {self.severity} [{self.code}]: {self.message}{hint}"


def did_you_mean(misspelled: str, candidates: Iterable[str]) -> str:
    """Return a hint that names the most similar candidate, or an empty string."""
    best, matcher = (MIN_SIMILARITY, ""), SequenceMatcher(b=misspelled[:MAX_WORD_CHARACTERS])
    for word in islice((word for word in candidates if word), MAX_COMPARED_WORDS):
        matcher.set_seq1(word)
        # difflib.get_close_matches computes the full ratio of every candidate above the cutoff; the bounds are cheaper.
        if matcher.real_quick_ratio() >= best[0] and matcher.quick_ratio() >= best[0]:
            best = max(best, (matcher.ratio(), word))
    return f"did you mean `{best[1]}`?" if best[1] else ""


def truncate(word: object) -> str:
    """Shorten a word of the document for use in a message."""
    text = str(word)
    return text if len(text) <= MAX_WORD_CHARACTERS else text[: MAX_WORD_CHARACTERS - 3] + "..."


class Diagnostics:
    """Collects diagnostics, at most ``MAX_DIAGNOSTICS``; checks stop when it ``is_full``."""

    def __init__(self) -> None:
        self._items: list[Diagnostic] = []

    @property
    def is_full(self) -> bool:
        """True when no more diagnostics are accepted."""
        return len(self._items) >= MAX_DIAGNOSTICS

    @property
    def has_errors(self) -> bool:
        """True when there are errors, or more diagnostics than can be collected."""
        return self.is_full or any(diagnostic.severity == "error" for diagnostic in self._items)

    @property
    def by_path(self) -> list[Diagnostic]:
        """All diagnostics, sorted by path."""
        return sorted(self._items, key=lambda diagnostic: (diagnostic.path == "...", diagnostic))

    def add(self, diagnostic: Diagnostic) -> None:
        """Add a diagnostic. At the limit, one last diagnostic says that there are more."""
        if len(self._items) < MAX_DIAGNOSTICS - 1:
            self._items.append(diagnostic)
        elif not self.is_full:
            message = f"there are more problems than the {MAX_DIAGNOSTICS - 1} listed"
            self._items.append(Diagnostic("...", "too-many-problems", message))

    def extend(self, diagnostics: Iterable[Diagnostic]) -> None:
        """Add diagnostics until the limit is reached."""
        for diagnostic in diagnostics:
            if self.is_full:
                return
            self.add(diagnostic)

    def error(self, path: str, code: str, message: str, hint: str = "") -> None:
        """Add an error: the flow cannot be used."""
        self.add(Diagnostic(path, code, message, hint))

    def unknown_word(
        self, path: str, code: str, message: str, misspelled: str, candidates: Iterable[str] | Mapping[str, object]
    ) -> None:
        """Add an error about a word that is not one of ``candidates``; the hint names the most similar one."""
        if not self.is_full:
            self.error(path, code, message, did_you_mean(misspelled, candidates))

    def warning(self, path: str, code: str, message: str, hint: str = "") -> None:
        """Add a warning: the flow can be used."""
        self.add(Diagnostic(path, code, message, hint, "warning"))
