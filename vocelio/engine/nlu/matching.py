"""From what was heard to which answer was meant: pure functions over English words.

Each returns None when nothing, or nothing unambiguous, was meant.
"""

from collections.abc import Iterable, Mapping, Sequence

from vocelio.engine.nlu.number_words import (
    DIGIT_BY_WORD,
    DIGIT_WORDS,
    MAX_NUMBER,
    NUMBER_WORDS,
    parse_digits,
    parse_number,
)
from vocelio.engine.nlu.words import phrase_words, words

__all__ = (
    "DIGIT_BY_WORD",
    "DIGIT_WORDS",
    "MAX_NUMBER",
    "NO_PHRASES",
    "NUMBER_WORDS",
    "YES_PHRASES",
    "is_ambiguous_prefix",
    "is_hesitating",
    "match_choice",
    "match_yes_no",
    "parse_digits",
    "parse_number",
    "words",
)

YES_PHRASES = ("yes", "yeah", "yep", "yup", "correct", "that's right", "right", "sure", "okay", "yes please")
NO_PHRASES = ("no", "nope", "nah", "wrong", "that's wrong", "no thanks", "not right", "that's not right", "incorrect")
YES_NO_PHRASES: Mapping[str, tuple[str, ...]] = {"yes": YES_PHRASES, "no": NO_PHRASES}

_HESITATION_WORDS = frozenset(("no", "not", "or", "actually", "sorry", "wait", "instead", "but", "either", "except"))


def match_choice(text: str, choices: Mapping[str, Iterable[str]]) -> str | None:
    """The choice one of whose phrases was said, also among other words; the longest phrase wins."""
    said = words(text)
    best, meant = 0, set[str]()
    for name, phrases in choices.items():
        for phrase in phrases:
            looked_for = phrase_words(phrase)
            if len(looked_for) >= max(best, 1) and _contains_phrase(said, looked_for):
                meant = {name} if len(looked_for) > best else meant | {name}
                best = len(looked_for)
    return meant.pop() if len(meant) == 1 else None


def is_ambiguous_prefix(text: str, name: str, choices: Mapping[str, Iterable[str]]) -> bool:
    """Whether more words could still turn the choice ``name``, heard so far, into a different one.

    The last word may be cut short: "pay" could become "payroll".
    """
    said = words(text)
    best = max((len(p) for p in map(phrase_words, choices[name]) if _contains_phrase(said, p)), default=0)
    return any(
        len(phrase) >= best and _ends_with_start_of(said, phrase)
        for other, phrases in choices.items()
        if other != name
        for phrase in map(phrase_words, phrases)
    )


def is_hesitating(text: str, phrases: Iterable[str]) -> bool:
    """Whether the caller seems to be changing their mind, in words that are none of the phrases' own."""
    own = {word for phrase in phrases for word in phrase_words(phrase)}
    return any(word in _HESITATION_WORDS and word not in own for word in words(text))


def match_yes_no(text: str) -> str | None:
    """``yes`` or ``no``."""
    return match_choice(text, YES_NO_PHRASES)


def _ends_with_start_of(said: Sequence[str], phrase: Sequence[str]) -> bool:
    """Whether the last words said are a beginning of the phrase, and not all of it."""
    for size in range(1, min(len(said), len(phrase)) + 1):
        *before, last = said[-size:]
        whole = size == len(phrase) and last == phrase[-1]
        if not whole and tuple(before) == tuple(phrase[: size - 1]) and phrase[size - 1].startswith(last):
            return True
    return False


def _contains_phrase(said: Sequence[str], phrase: Sequence[str]) -> bool:
    size = len(phrase)
    return any(tuple(said[start : start + size]) == phrase for start in range(len(said) - size + 1))
