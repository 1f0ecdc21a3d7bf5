"""Pronunciations of words: the recognizer's dictionary, espeak-ng for other words, and the effect of the telephone.

Loading all 134,000 words costs a decoder 25 MB and 80 ms; one with the few words of its grammar costs 5 MB and 6 ms.
Therefore the dictionary file is only searched, which takes 30 us per word.
"""

import functools
import mmap
from collections.abc import Iterable
from pathlib import Path

from vocelio.gateway.speech.interfaces import SpeechError
from vocelio.gateway.speech.local import espeak
from vocelio.gateway.speech.local.speakable_text import clean_text

MAX_CACHED_WORDS = 20_000
"""Words whose pronunciations are cached: a few MB."""

TELEPHONE_VARIANTS = (("S", "F"), ("S", "HH"))
"""What phonemes sound like on a telephone, as additional pronunciations: an S has nearly all of its energy above the
4 kHz that a telephone carries. With them 46 of 56 spoken digit strings were understood, without them 32."""

_ARPABET = {
    **dict.fromkeys(("a", "aa", "a#"), "AE"), "A:": "AA", "A@": "AA R", "A": "AA", "0": "AA",
    **dict.fromkeys(("O", "O:"), "AO"), **dict.fromkeys(("o@", "O@"), "AO R"), "oU": "OW", "o": "OW",
    "E": "EH", "e@": "EH R", "eI": "EY", "e": "EY", "I": "IH", "I#": "AH", "i": "IY", "i@": "IY AH",
    "i@3": "IH R", "3": "ER", "@": "AH", "@L": "AH L", "@5": "AH L", "V": "AH", "U": "UH", "U@": "UH R", "u": "UW",
    "aI": "AY", "aI@": "AY AH", "aI3": "AY ER", "aU": "AW", "aU@": "AW ER", "OI": "OY", "y": "UW",
    "p": "P", "t": "T", "k": "K", "b": "B", "d": "D", "g": "G", "f": "F", "v": "V", "T": "TH", "D": "DH",
    "s": "S", "z": "Z", "S": "SH", "Z": "ZH", "h": "HH", "x": "K", "m": "M", "n": "N", "N": "NG",
    "l": "L", "r": "R", "R": "R", "j": "Y", "w": "W", "tS": "CH", "dZ": "JH", "ts": "T S", "t#": "D",
}  # fmt: skip

_STRESS_MARKS = "',%=_|"
_SILENT_PHONEMES = {"", "?", ";"}
"""The empty one, the glottal stop and the palatal mark: the recognizer has no phoneme for them."""


class PronunciationDictionary:
    """Pronunciations in ARPAbet, such as ``S EY L Z``."""

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            self._file = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self.pronunciations = functools.lru_cache(MAX_CACHED_WORDS)(self._pronunciations)

    def _pronunciations(self, word: str, language: str) -> tuple[str, ...]:
        """Return every pronunciation of a lower-case word; none if it is unknown in the language."""
        spoken = self._lookup(word.encode()) if language.lower().startswith("en") else []
        spoken = spoken or _pronounce_with_espeak(word, language)
        variants = [variant for pronunciation in spoken for variant in _telephone_variants(pronunciation)]
        return tuple(dict.fromkeys(spoken + variants))

    def _lookup(self, word: bytes) -> list[str]:
        """Search the file, whose lines are ``word P R O N``, each followed by alternatives as ``word(2) P R O N``."""
        pronunciations: list[str] = []
        position = self._find_first_line(word)
        while position < len(self._file):
            name, pronunciation, position = self._read_line(position)
            if name != word:
                break
            pronunciations.append(pronunciation)
        return pronunciations

    def _find_first_line(self, word: bytes) -> int:
        """Return the position where ``word`` begins or would begin (binary search; the lines are sorted)."""
        low, high = 0, len(self._file)
        while low < high:
            start = self._file.rfind(b"\n", low, (low + high) // 2) + 1 or low
            name, _, following = self._read_line(start)
            if name < word:
                low = following
            else:
                high = start
        return low

    def _read_line(self, start: int) -> tuple[bytes, str, int]:
        """Return the word and the pronunciation in the line at ``start``, and the position of the next line."""
        end = self._file.find(b"\n", start)
        end = len(self._file) if end < 0 else end
        name, _, pronunciation = self._file[start:end].partition(b" ")
        return name.partition(b"(")[0], pronunciation.decode().strip(), end + 1


def _pronounce_with_espeak(word: str, language: str) -> list[str]:
    if clean_text(word) != word:  # too long, or with characters on which espeak-ng may die
        return []
    try:
        pronunciation = to_arpabet(espeak.load().phonemes(word, language.lower()))
    except SpeechError:  # espeak-ng is not installed or does not have the language: the word stays unknown
        return []
    return [pronunciation] if pronunciation else []


def _telephone_variants(pronunciation: str) -> list[str]:
    phonemes = pronunciation.split()
    return [
        " ".join(variant if phoneme == original else phoneme for phoneme in phonemes)
        for original, variant in TELEPHONE_VARIANTS
    ]


def to_arpabet(phonemes: Iterable[str]) -> str | None:
    """Convert espeak-ng's phonemes to the recognizer's (ARPAbet); None if one has no counterpart."""
    converted = [_to_arpabet_phoneme(phoneme.strip(_STRESS_MARKS)) for phoneme in phonemes]
    return None if None in converted else " ".join(filter(None, converted)) or None


def _to_arpabet_phoneme(phoneme: str) -> str | None:
    """Look up a phoneme, if need be without its last characters: espeak-ng appends shades (``I2``, ``i:``, ``t#``)."""
    if phoneme in _SILENT_PHONEMES:
        return ""
    return _ARPABET.get(phoneme) or (_to_arpabet_phoneme(phoneme[:-1]) if len(phoneme) > 1 else None)
