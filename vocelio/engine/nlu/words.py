"""The words of what was said: what recognisers write differently is made alike."""

import re
from functools import lru_cache

_WORD = re.compile("[^\\W_]+(?:['\u2019][^\\W_]+)*")  # with either apostrophe


def words(text: str) -> list[str]:
    """The words of a text, lower case, without punctuation."""
    return [word.replace("\u2019", "'") for word in _WORD.findall(text.casefold())]


@lru_cache(maxsize=4096)
def phrase_words(phrase: str) -> tuple[str, ...]:
    """The words of a flow's phrase, remembered: every partial result is compared with all of them."""
    return tuple(words(phrase))
