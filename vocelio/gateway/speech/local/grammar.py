"""What a decoder may hear: the expected phrases, and beside them anything at all.

A decoder that knows only phrases forces every sound into one of them. So the grammar has a second way from
start to end, a loop over bare phonemes that fits whatever is said: speech that is none of the phrases is
better explained by it, and is thereby rejected. The loop's cost a phoneme decides how well a phrase must fit.
The figures are from espeak-ng's voices and a few recorded people, through 8 kHz mu-law.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

GARBAGE = "*"
"""Begins the loop's words: ``*AA`` is the phoneme AA. No word of a phrase can contain it."""

VOWELS = ("AA", "AE", "AH", "EH", "ER", "IH", "IY", "OW", "UW", "AY", "EY")
CONSONANTS = ("S", "T", "K", "D", "N", "M", "L", "R", "F", "W", "Z", "P", "SH")
PHONEMES = VOWELS + CONSONANTS
"""The loop's phonemes. All 39 reject no better and cost twice the time; 17 reject a quarter less."""

OPENINGS = ("um", "i want", "i want to", "i would like", "i would like to")
CLOSINGS = ("please", "thanks", "thank you")
"""English that people say around a phrase, where the phrase is one of a few."""


@dataclass(frozen=True, slots=True)
class Tuning:
    """Probabilities that stand for costs: of each word of a phrase, of what is said around it, of a loop's
    phoneme. And the worst acoustic score a frame with which a phrase is still believed."""

    word: float
    courtesy: float
    phoneme: float
    worst_fit: float


ONE_PHRASE = Tuning(word=1e-10, courtesy=1e-34, phoneme=1e-14, worst_fit=-5.0)
"""Right phrases score -2 to -5, others -3.9 to -5.4."""

PHRASES_IN_A_ROW = Tuning(word=1e-20, courtesy=0.0, phoneme=1e-17, worst_fit=-3.6)
"""A word costs more here: digits were otherwise heard in every breath. Right ones score -2.3 to -3.3."""

_START, _END, _LOOP, _BEFORE, _BEHIND, _FIRST_FREE = range(6)

Transition = tuple[int, int, float] | tuple[int, int, float, str]
"""From, to, probability and, unless nothing is said there, the word."""

_NOT_WORDS = re.compile(r"[^\w' ]+|_+")


def normal(phrase: str) -> str:
    """A phrase as its bare words, in lower case: what is recognised, and what is reported as heard."""
    words = _NOT_WORDS.sub(" ", phrase.lower().replace("\u2019", "'")).split()
    return " ".join(filter(None, (word.strip("'") for word in words)))


class Grammar:
    """The graph for some phrases (as ``normal`` gives them): state 0 is the start, state 1 the end."""

    start, end = _START, _END

    def __init__(self, phrases: Sequence[str], repeat: bool, courtesies: bool) -> None:
        courtesies = courtesies and not repeat
        self.tuning = PHRASES_IN_A_ROW if repeat else ONE_PHRASE
        self._free = _FIRST_FREE
        self.transitions: list[Transition] = [(_START, _BEFORE, 1.0), (_BEHIND, _END, 1.0)]
        for phrase in phrases:
            self._add(_BEFORE, _BEHIND, phrase, self.tuning.word)
        if repeat:
            self.transitions.append((_BEHIND, _BEFORE, 1.0))
        openings, closings = (OPENINGS, CLOSINGS) if courtesies else ((), ())
        for opening in openings:
            self._add(_START, _BEFORE, opening, self.tuning.courtesy)
        for closing in closings:
            self._add(_BEHIND, _END, closing, self.tuning.courtesy)
        self._add_loop()
        self._whole = re.compile(_pattern(phrases, openings, closings, repeat))

    @property
    def words(self) -> set[str]:
        """Every word that needs a pronunciation, the loop's phonemes left out."""
        return {step[3] for step in self.transitions if len(step) == 4 and not step[3].startswith(GARBAGE)}

    def accepts(self, text: str) -> bool:
        """Whether ``text`` is said in full: a decoder also reports half a phrase, or the loop's phonemes."""
        return bool(self._whole.fullmatch(text))

    def _add(self, start: int, end: int, phrase: str, cost: float) -> None:
        """A chain of states from ``start`` to ``end``, one word a step; ``cost`` is the first one's."""
        words = phrase.split()
        for number, word in enumerate(words, start=1):
            target = end if number == len(words) else self._free
            self._free += target == self._free
            self.transitions.append((start, target, cost, word))
            start, cost = target, self.tuning.word

    def _add_loop(self) -> None:
        for phoneme in PHONEMES:
            word = GARBAGE + phoneme
            self.transitions.append((_START, _LOOP, self.tuning.phoneme, word))
            self.transitions.append((_LOOP, _LOOP, self.tuning.phoneme, word))
        self.transitions.append((_LOOP, _END, 1.0))


def _pattern(phrases: Sequence[str], openings: Sequence[str], closings: Sequence[str], repeat: bool) -> str:
    phrase = _any(phrases)
    again = f"(?: {phrase})*" if repeat else ""
    return f"(?:{_any(openings)} )?{phrase}{again}(?: {_any(closings)})?"


def _any(texts: Sequence[str]) -> str:
    return f"(?:{'|'.join(map(re.escape, texts))})" if texts else "(?!)"
