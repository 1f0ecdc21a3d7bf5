"""Matching of English transcripts with answers: pure functions that return None without an unambiguous match."""

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
    """Return the choice whose phrase the text contains; the longest phrase wins."""
    utterance = words(text)
    longest, matches = 0, set[str]()
    for name, phrases in choices.items():
        for phrase in map(phrase_words, phrases):
            if len(phrase) >= max(longest, 1) and _contains_phrase(utterance, phrase):
                matches = {name} if len(phrase) > longest else matches | {name}
                longest = len(phrase)
    return matches.pop() if len(matches) == 1 else None


def is_ambiguous_prefix(text: str, name: str, choices: Mapping[str, Iterable[str]]) -> bool:
    """Return True if more words could turn the choice ``name``, matched so far, into a different one.

    The last word may be incomplete: "pay" could become "payroll".
    """
    utterance = words(text)
    longest = max((len(p) for p in map(phrase_words, choices[name]) if _contains_phrase(utterance, p)), default=0)
    return any(
        len(phrase) >= longest and _ends_with_start_of(utterance, phrase)
        for other_name, phrases in choices.items()
        if other_name != name
        for phrase in map(phrase_words, phrases)
    )


def is_hesitating(text: str, phrases: Iterable[str]) -> bool:
    """Return True if the text contains hesitation words that are not part of the phrases themselves."""
    phrase_vocabulary = {word for phrase in phrases for word in phrase_words(phrase)}
    return any(word in _HESITATION_WORDS and word not in phrase_vocabulary for word in words(text))


def match_yes_no(text: str) -> str | None:
    """Return ``yes``, ``no`` or None."""
    return match_choice(text, YES_NO_PHRASES)


def _ends_with_start_of(utterance: Sequence[str], phrase: Sequence[str]) -> bool:
    """Return True if the last words are a proper prefix of the phrase."""
    for size in range(1, min(len(utterance), len(phrase)) + 1):
        *before, last = utterance[-size:]
        is_complete = size == len(phrase) and last == phrase[-1]
        if not is_complete and tuple(before) == tuple(phrase[: size - 1]) and phrase[size - 1].startswith(last):
            return True
    return False


def _contains_phrase(utterance: Sequence[str], phrase: Sequence[str]) -> bool:
    size = len(phrase)
    return any(tuple(utterance[start : start + size]) == phrase for start in range(len(utterance) - size + 1))
