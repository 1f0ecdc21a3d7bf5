"""The sentences of a text: the unit that is rendered beforehand, and looked up when it is to be said.

Rendering and the call cut with this one function, so that what one has made the other finds. A sentence that is cut
at the wrong place ("Dr. Lee") sounds a little worse and costs nothing more: no list of abbreviations is worth it.
"""

import re
from collections.abc import Iterator

MAX_SENTENCE_CHARACTERS = 250
"""Characters: about 15 s of speech. What is longer is cut between two words, so that its first sound comes soon."""

_SENTENCE_END = re.compile("(?<=[.!?\u2026\u3002]) ")


def split_sentences(text: str) -> list[str]:
    """The sentences, none with more than MAX_SENTENCE characters unless it is a single word.

    With spaces in between they are the text again, each row of its whitespace one space.
    """
    return [piece for sentence in full_sentences(text) for piece in _split_long(sentence)]


def full_sentences(text: str) -> list[str]:
    """The sentences, however long."""
    plain = " ".join(text.split())
    return _SENTENCE_END.split(plain) if plain else []


def _split_long(sentence: str) -> Iterator[str]:
    while len(sentence) > MAX_SENTENCE_CHARACTERS:
        behind = sentence.rfind(" ", 1, MAX_SENTENCE_CHARACTERS + 1)
        if behind < 0:
            behind = sentence.find(" ", MAX_SENTENCE_CHARACTERS)
        if behind < 0:
            break
        yield sentence[:behind]
        sentence = sentence[behind + 1 :]
    yield sentence
