"""Prepare texts for espeak-ng: only characters that can be spoken, no endless words, segments of a bounded length.

espeak-ng has bugs that odd characters and long words set off (an Arabic voice died on a Braille pattern, the English
one on ``'s`` eighty times). It runs in processes that may die, but a text that does no harm need not be tried twice.
"""

import re
import textwrap
import unicodedata
from collections.abc import Iterator

MAX_SEGMENT_LENGTH = 250
"""Characters of a segment: about 15 s of speech, 120 KB of mu-law, 20 ms of rendering."""

MAX_WORD_LENGTH = 60
"""Characters of a word; the longest of any dictionary has 45. Longer ones are broken, and sound the same."""

SENTENCE_ENDS = ".!?;:\u2026\u3002"

_SENTENCE_BREAK = re.compile(rf"(?<=[{SENTENCE_ENDS}])\s+")
_LONG_WORD = re.compile(rf"\S{{{MAX_WORD_LENGTH}}}(?=\S)")
_SPOKEN_SYMBOLS = "\u00a9\u00ae\u00b0"  # copyright, registered, degree
_JOINERS = "\u200c\u200d"  # without them Persian and Indic words are spelled differently
_UNSPOKEN_CATEGORIES = frozenset({"Cc", "Cf", "Cn", "Co", "Cs", "So"})
"""Controls, formats, unassigned, private and surrogate characters, and symbols such as emoji and Braille patterns."""


def clean_text(text: str) -> str:
    """Return a text without characters that cannot be spoken and without long words."""
    if not (text.isascii() and text.isprintable()):
        text = "".join(map(_clean_character, text))
    return _LONG_WORD.sub(r"\g<0> ", text)


def _clean_character(character: str) -> str:
    """Return a character, a space instead of one that cannot be spoken, or what a symbol stands for."""
    if character in _JOINERS or character in _SPOKEN_SYMBOLS:
        return character
    if unicodedata.category(character) not in _UNSPOKEN_CATEGORIES:
        return character
    plain = unicodedata.normalize("NFKC", character)  # a letter in a circle is the letter
    return plain if plain.isalnum() else " "


def split_segments(text: str) -> Iterator[str]:
    """Split a text into segments of at most MAX_SEGMENT_LENGTH characters, if possible at the end of a sentence."""
    segment = ""
    for sentence in _SENTENCE_BREAK.split(text.strip()):
        for part in textwrap.wrap(sentence, MAX_SEGMENT_LENGTH, break_on_hyphens=False):
            if segment and len(segment) + 1 + len(part) > MAX_SEGMENT_LENGTH:
                yield segment
                segment = part
            else:
                segment = f"{segment} {part}".lstrip()
    if segment:
        yield segment
