"""Grammar of a decoder: the expected phrases, and a garbage loop that accepts anything else.

A decoder that knows only phrases forces all audio into one of them. Therefore the grammar has a second path from start
to end, a loop over single phonemes: speech that is not a phrase fits it better and is thereby rejected. The cost of a
phoneme in the loop decides how well a phrase must fit. The figures were measured with espeak-ng's voices and a few
recorded people, through 8 kHz mu-law.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

GARBAGE_PREFIX = "*"
"""Prefix of the loop's words: ``*AA`` is the phoneme AA. A word of a phrase cannot contain it."""

VOWELS = ("AA", "AE", "AH", "EH", "ER", "IH", "IY", "OW", "UW", "AY", "EY")
CONSONANTS = ("S", "T", "K", "D", "N", "M", "L", "R", "F", "W", "Z", "P", "SH")
PHONEMES = VOWELS + CONSONANTS
"""The loop's phonemes. All 39 reject no better and take twice the time; 17 reject a quarter less."""

OPENINGS = ("um", "i want", "i want to", "i would like", "i would like to")
CLOSINGS = ("please", "thanks", "thank you")
"""English courtesies around a phrase, where the phrase is one of a few."""


@dataclass(frozen=True, slots=True)
class Tuning:
    """Costs, as probabilities, of a word of a phrase, a courtesy and a phoneme of the loop; and the worst accepted fit.

    ``min_fit_score`` is an acoustic log score per frame.
    """

    word_probability: float
    courtesy_probability: float
    phoneme_probability: float
    min_fit_score: float


SINGLE_PHRASE_TUNING = Tuning(
    word_probability=1e-10, courtesy_probability=1e-34, phoneme_probability=1e-14, min_fit_score=-5.0
)
"""Right phrases score -2 to -5, others -3.9 to -5.4."""

REPEATED_PHRASES_TUNING = Tuning(
    word_probability=1e-20, courtesy_probability=0.0, phoneme_probability=1e-17, min_fit_score=-3.6
)
"""A word costs more here, since digits were heard in every breath otherwise. Right ones score -2.3 to -3.3."""

_START, _END, _LOOP, _PHRASE_START, _PHRASE_END, _FIRST_FREE = range(6)

Transition = tuple[int, int, float] | tuple[int, int, float, str]
"""From state, to state, probability, and the word unless it is an empty transition."""

_NOT_WORDS = re.compile(r"[^\w' ]+|_+")


def normalize_phrase(phrase: str) -> str:
    """Return a phrase as lower-case words without punctuation, as it is recognized and reported."""
    words = _NOT_WORDS.sub(" ", phrase.lower().replace("\u2019", "'")).split()
    return " ".join(filter(None, (word.strip("'") for word in words)))


class Grammar:
    """The graph of normalized phrases; state 0 is the start, state 1 the end."""

    start_state, end_state = _START, _END

    def __init__(self, phrases: Sequence[str], repeat: bool, courtesies: bool) -> None:
        courtesies = courtesies and not repeat
        self.tuning = REPEATED_PHRASES_TUNING if repeat else SINGLE_PHRASE_TUNING
        self._next_state = _FIRST_FREE
        self.transitions: list[Transition] = [(_START, _PHRASE_START, 1.0), (_PHRASE_END, _END, 1.0)]
        for phrase in phrases:
            self._add_phrase(_PHRASE_START, _PHRASE_END, phrase, self.tuning.word_probability)
        if repeat:
            self.transitions.append((_PHRASE_END, _PHRASE_START, 1.0))
        openings, closings = (OPENINGS, CLOSINGS) if courtesies else ((), ())
        for opening in openings:
            self._add_phrase(_START, _PHRASE_START, opening, self.tuning.courtesy_probability)
        for closing in closings:
            self._add_phrase(_PHRASE_END, _END, closing, self.tuning.courtesy_probability)
        self._add_loop()
        self._accepted = re.compile(_accepted_pattern(phrases, openings, closings, repeat))

    @property
    def words(self) -> set[str]:
        """Every word that needs a pronunciation, without the loop's phonemes."""
        return {step[3] for step in self.transitions if len(step) == 4 and not step[3].startswith(GARBAGE_PREFIX)}

    def accepts(self, text: str) -> bool:
        """Tell whether ``text`` is complete: a decoder also reports half a phrase, or the loop's phonemes."""
        return bool(self._accepted.fullmatch(text))

    def _add_phrase(self, start: int, end: int, phrase: str, cost: float) -> None:
        """Add a chain of states from ``start`` to ``end``, one word each; ``cost`` is that of the first word."""
        words = phrase.split()
        for number, word in enumerate(words, start=1):
            target = end if number == len(words) else self._next_state
            self._next_state += target == self._next_state
            self.transitions.append((start, target, cost, word))
            start, cost = target, self.tuning.word_probability

    def _add_loop(self) -> None:
        for phoneme in PHONEMES:
            word = GARBAGE_PREFIX + phoneme
            self.transitions.append((_START, _LOOP, self.tuning.phoneme_probability, word))
            self.transitions.append((_LOOP, _LOOP, self.tuning.phoneme_probability, word))
        self.transitions.append((_LOOP, _END, 1.0))


def _accepted_pattern(phrases: Sequence[str], openings: Sequence[str], closings: Sequence[str], repeat: bool) -> str:
    phrase = _alternatives(phrases)
    again = f"(?: {phrase})*" if repeat else ""
    return f"(?:{_alternatives(openings)} )?{phrase}{again}(?: {_alternatives(closings)})?"


def _alternatives(texts: Sequence[str]) -> str:
    return f"(?:{'|'.join(map(re.escape, texts))})" if texts else "(?!)"
