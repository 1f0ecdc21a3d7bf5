"""How words sound: the recogniser's dictionary, espeak-ng for the words outside it, and the telephone's effect.

Loading all 134,000 words costs a decoder 25 MB and 80 ms; a decoder that is given the few words of its
grammar costs 5 MB and 6 ms. So the file is only searched, 30 us a word.

From espeak-ng's phonemes to those of the recogniser (ARPAbet), for words that are in no dictionary.

espeak-ng writes a vowel's shade behind its sign (``I2``, ``i:``, ``t#``); a sign that is not listed is looked
up again without its last character.
"""

import functools
import mmap
from collections.abc import Iterable
from pathlib import Path

from vocelio.gateway.speech.interfaces import SpeechError
from vocelio.gateway.speech.local import espeak

MAX_CACHED_WORDS = 20_000
"""Words whose sound is kept: a few MB."""

TELEPHONE_VARIANTS = (("S", "F"), ("S", "HH"))
"""What a telephone makes of a sound, as further pronunciations: an S has nearly all of its energy above the
4 kHz that a telephone carries. With them 46 of 56 spoken digit strings were understood, without 32."""


class PronunciationDictionary:
    """Pronunciations in ARPAbet, such as ``S EY L Z``."""

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            self._file = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self.pronunciations = functools.lru_cache(MAX_CACHED_WORDS)(self._pronunciations)

    def _pronunciations(self, word: str, language: str) -> tuple[str, ...]:
        """Every way to say ``word`` (in lower case), or none if it cannot be said in ``language``."""
        said = self._lookup(word.encode()) if language.lower().startswith("en") else []
        said = said or _pronounce_with_espeak(word, language)
        return tuple(dict.fromkeys(said + [heard for sound in said for heard in _telephone_variants(sound)]))

    def _lookup(self, word: bytes) -> list[str]:
        """The file's lines are ``word P R O N`` and, for more ways to say it, ``word(2) P R O N`` right behind."""
        found: list[str] = []
        at = self._find_first_line(word)
        while at < len(self._file):
            name, sound, at = self._read_line(at)
            if name != word:
                break
            found.append(sound)
        return found

    def _find_first_line(self, word: bytes) -> int:
        """Where ``word`` begins, or would: the lines are sorted by their words."""
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
        """The word and its sound in the line at ``start``, and where the next line begins."""
        end = self._file.find(b"\n", start)
        end = len(self._file) if end < 0 else end
        name, _, sound = self._file[start:end].partition(b" ")
        return name.partition(b"(")[0], sound.decode().strip(), end + 1


def _pronounce_with_espeak(word: str, language: str) -> list[str]:
    try:
        sound = to_arpabet(espeak.load().phonemes(word, language.lower()))
    except SpeechError:  # no espeak-ng here, or no such language: the word stays unknown
        return []
    return [sound] if sound else []


def _telephone_variants(sound: str) -> list[str]:
    phonemes = sound.split()
    return [
        " ".join(heard if phoneme == said else phoneme for phoneme in phonemes) for said, heard in TELEPHONE_VARIANTS
    ]


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
"""Nothing, the glottal stop and the palatal mark: the recogniser has no phoneme for them."""


def to_arpabet(phonemes: Iterable[str]) -> str | None:
    """A pronunciation in the recogniser's phonemes, or None if one of espeak-ng's has no counterpart."""
    found = [_to_arpabet_phoneme(phoneme.strip(_STRESS_MARKS)) for phoneme in phonemes]
    return None if None in found else " ".join(filter(None, found)) or None


def _to_arpabet_phoneme(phoneme: str) -> str | None:
    if phoneme in _SILENT_PHONEMES:
        return ""
    return _ARPABET.get(phoneme) or (_to_arpabet_phoneme(phoneme[:-1]) if len(phoneme) > 1 else None)
