"""Words of a transcript or phrase: the tokenizer, and phonetic keys that find phrases which sound alike on the phone.

A phonetic key replaces letters that a phone line hardly distinguishes by one letter, and every run of vowels by one
sign. Two phrases sound alike if their keys are equal or, unless they are short, differ in one sign: "fifteen" and
"fifty", "sales" and "sails". This takes linear time, since two keys that differ in one sign are equal once that sign is
left out of either.
"""

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache

_WORD = re.compile("[^\\W_]+(?:['\u2019][^\\W_]+)*")  # with either apostrophe
_MIN_FUZZY_LENGTH = 4  # signs of a key: of two, one is too much to differ in
_SPELLING_REPLACEMENTS = (
    ("ph", "f"), ("gh", ""), ("ck", "k"), ("sch", "s"), ("sh", "s"), ("ch", "s"), ("th", "d"), ("wh", "w"),
    ("tion", "san"), ("qu", "kw"), ("x", "ks"),
)  # fmt: skip
_SIMILAR_LETTERS = str.maketrans(
    {"c": "k", "q": "k", "g": "k", "z": "s", "v": "f", "b": "p", "t": "d", "m": "n", "j": "s"}
)


def words(text: str) -> list[str]:
    """Split a text into words: lower case, without punctuation, with plain apostrophes."""
    return [word.replace("\u2019", "'") for word in _WORD.findall(text.casefold())]


@lru_cache(maxsize=4096)
def phrase_words(phrase: str) -> tuple[str, ...]:
    """The words of a flow's phrase, cached: every partial transcript is compared with all phrases."""
    return tuple(words(phrase))


def phonetic_key(phrase: str) -> str:
    """Return how the phrase sounds on a phone line, approximately."""
    return "".join(_word_key(word) for word in words(phrase))


def _word_key(word: str) -> str:
    word = re.sub(r"c(?=[eiy])", "s", word)
    word = re.sub(r"(?<=[^aeiou])e(s?)$", r"\1", word)
    for letters, sound in _SPELLING_REPLACEMENTS:
        word = word.replace(letters, sound)
    word = re.sub(r"[aeiouyhw]+", "a", word.translate(_SIMILAR_LETTERS))
    return re.sub(r"(.)\1+", r"\1", word)


def find_similar_phrases(phrases: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str, str, str]]:
    """Find phrases that sound like an earlier phrase of another answer, among (answer, phrase) pairs.

    Yields answer, phrase, the other answer and its phrase; at most one for each phrase.
    """
    first_by_key: dict[str, tuple[str, str]] = {}
    for answer, phrase in phrases:
        key = phonetic_key(phrase)
        shorter = [key[:at] + key[at + 1 :] for at in range(len(key))] if len(key) >= _MIN_FUZZY_LENGTH else []
        for variant in dict.fromkeys((f"={key}", *((key, *shorter) if shorter else ()))):
            other_answer, other_phrase = first_by_key.setdefault(variant, (answer, phrase))
            if other_answer != answer:
                yield answer, phrase, other_answer, other_phrase
                break
