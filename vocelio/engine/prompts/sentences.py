"""Sentence splitter: a sentence is the unit that is pre-rendered and looked up in the prompt cache.

Pre-rendering and calls must split with this function, so that the cached sentences are found. A wrong split ("Dr. Lee")
only affects the intonation, so there is no list of abbreviations.
"""

import re
from collections.abc import Iterator

MAX_SENTENCE_CHARACTERS = 250
"""About 15 s of speech. Longer sentences are split between words, so that the first audio arrives soon."""

_SENTENCE_END = re.compile("(?<=[.!?\u2026\u3002]) ")


def split_sentences(text: str) -> list[str]:
    """Split a text into sentences of at most MAX_SENTENCE_CHARACTERS, unless a single word is longer.

    Joined with spaces they are the text with its whitespace normalized.
    """
    return [piece for sentence in full_sentences(text) for piece in _split_long(sentence)]


def full_sentences(text: str) -> list[str]:
    """Split a text into sentences of any length."""
    text = " ".join(text.split())
    return _SENTENCE_END.split(text) if text else []


def _split_long(sentence: str) -> Iterator[str]:
    while len(sentence) > MAX_SENTENCE_CHARACTERS:
        space = sentence.rfind(" ", 1, MAX_SENTENCE_CHARACTERS + 1)
        if space < 0:
            space = sentence.find(" ", MAX_SENTENCE_CHARACTERS)
        if space < 0:
            break
        yield sentence[:space]
        sentence = sentence[space + 1 :]
    yield sentence
