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
        self._acceptor = PhraseAcceptor(phrases, openings, closings, repeat)

    @property
    def words(self) -> set[str]:
        """Every word that needs a pronunciation, without the loop's phonemes."""
        return {step[3] for step in self.transitions if len(step) == 4 and not step[3].startswith(GARBAGE_PREFIX)}

    def accepts(self, text: str) -> bool:
        """Tell whether ``text`` is complete: a decoder also reports half a phrase, or the loop's phonemes."""
        return self._acceptor.accepts(text.split(" "))

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


class PhraseAcceptor:
    """Accepts an opening if any, a phrase (with ``repeat`` several) and a closing if any.

    Texts are merged into trees of words, and all possible positions are followed at once. So a word costs at most as
    many steps as the longest phrase has words, however ambiguous the phrases are.
    """

    def __init__(self, phrases: Sequence[str], openings: Sequence[str], closings: Sequence[str], repeat: bool) -> None:
        self._steps: dict[tuple[int, str], int] = {}
        self._following: dict[int, list[int]] = {_START: [_PHRASE_START], _PHRASE_END: [_END]}  # without a word
        self._next_state = _FIRST_FREE
        if repeat:
            self._following[_PHRASE_END].append(_PHRASE_START)
        for root, texts, end in (
            (_START, openings, _PHRASE_START),
            (_PHRASE_START, phrases, _PHRASE_END),
            (_PHRASE_END, closings, _END),
        ):
            for text in texts:
                self._following.setdefault(self._add_text(root, text), []).append(end)

    def accepts(self, words: Sequence[str]) -> bool:
        """Tell whether the words are complete."""
        states = self._with_following({_START})
        for word in words:
            states = self._with_following(
                {self._steps[state, word] for state in states if (state, word) in self._steps}
            )
        return _END in states

    def _add_text(self, root: int, text: str) -> int:
        """Add a text to the tree below ``root``; return its last state."""
        state = root
        for word in text.split():
            if (state, word) not in self._steps:
                self._steps[state, word] = self._next_state
                self._next_state += 1
            state = self._steps[state, word]
        return state

    def _with_following(self, states: set[int]) -> set[int]:
        waiting = list(states)
        while waiting:
            new = set(self._following.get(waiting.pop(), ())) - states
            states |= new
            waiting += new
        return states
