"""From espeak-ng's phonemes to those of the recogniser (ARPAbet), for words that are in no dictionary.

espeak-ng writes a vowel's shade behind its sign (``I2``, ``i:``, ``t#``); a sign that is not listed is looked
up again without its last character.
"""

from collections.abc import Iterable

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
