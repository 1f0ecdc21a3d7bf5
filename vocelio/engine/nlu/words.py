"""The words of what was said: what recognisers write differently is made alike.

Which phrases a recogniser would mix up on a telephone line.

Each phrase is written roughly as it sounds: letters that a telephone hardly tells apart become one, every run of
vowels becomes one sign. Two phrases are alike when they are written the same, or differ in one sign and are not
short. That catches "fifteen" and "fifty", "sales" and "sails", and does so in linear time: phrases that differ in
one sign have a spelling in common once either sign is left out.
"""

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache

_WORD = re.compile("[^\\W_]+(?:['\u2019][^\\W_]+)*")  # with either apostrophe


def words(text: str) -> list[str]:
    """The words of a text, lower case, without punctuation."""
    return [word.replace("\u2019", "'") for word in _WORD.findall(text.casefold())]


@lru_cache(maxsize=4096)
def phrase_words(phrase: str) -> tuple[str, ...]:
    """The words of a flow's phrase, remembered: every partial result is compared with all of them."""
    return tuple(words(phrase))


_MIN_FUZZY_LENGTH = 4  # signs: of two, one is too much to differ in
_SPELLING_REPLACEMENTS = (
    ("ph", "f"), ("gh", ""), ("ck", "k"), ("sch", "s"), ("sh", "s"), ("ch", "s"), ("th", "d"), ("wh", "w"),
    ("tion", "san"), ("qu", "kw"), ("x", "ks"),
)  # fmt: skip
_SIMILAR_LETTERS = str.maketrans(
    {"c": "k", "q": "k", "g": "k", "z": "s", "v": "f", "b": "p", "t": "d", "m": "n", "j": "s"}
)


def phonetic_key(phrase: str) -> str:
    """The phrase, roughly as it sounds on a telephone."""
    return "".join(_word_key(word) for word in words(phrase))


def _word_key(word: str) -> str:
    word = re.sub(r"c(?=[eiy])", "s", word)
    word = re.sub(r"(?<=[^aeiou])e(s?)$", r"\1", word)
    for letters, said in _SPELLING_REPLACEMENTS:
        word = word.replace(letters, said)
    word = re.sub(r"[aeiouyhw]+", "a", word.translate(_SIMILAR_LETTERS))
    return re.sub(r"(.)\1+", r"\1", word)


def find_similar_phrases(phrases: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str, str, str]]:
    """Of (answer, phrase) pairs: each phrase of one answer that sounds like an earlier one of another answer.

    Yields answer, phrase, the other answer and its phrase; at most one for each phrase.
    """
    heard: dict[str, tuple[str, str]] = {}
    for answer, phrase in phrases:
        key = phonetic_key(phrase)
        shorter = [key[:at] + key[at + 1 :] for at in range(len(key))] if len(key) >= _MIN_FUZZY_LENGTH else []
        for spelling in dict.fromkeys((f"={key}", *((key, *shorter) if shorter else ()))):
            other, like = heard.setdefault(spelling, (answer, phrase))
            if other != answer:
                yield answer, phrase, other, like
                break
