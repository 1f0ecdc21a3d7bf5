"""How words sound: the recogniser's dictionary, espeak-ng for the words outside it, and the telephone's effect.

Loading all 134,000 words costs a decoder 25 MB and 80 ms; a decoder that is given the few words of its
grammar costs 5 MB and 6 ms. So the file is only searched (under a millisecond a word, and remembered).
"""

import functools
import mmap
from pathlib import Path

from vocelio.gateway.speech.local import espeak
from vocelio.gateway.speech.local.phonemes import to_arpabet
from vocelio.gateway.speech.ports import SpeechError

MAX_REMEMBERED = 20_000
"""Words whose sound is kept: a few MB."""

TELEPHONE_FORMS = (("S", "F"), ("S", "HH"))
"""What a telephone makes of a sound, as further pronunciations: an S has nearly all of its energy above the
4 kHz that a telephone carries. With them 46 of 56 spoken digit strings were understood, without 32."""


class Dictionary:
    """Pronunciations in ARPAbet, such as ``S EY L Z``."""

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            self._lines = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self.pronunciations = functools.lru_cache(MAX_REMEMBERED)(self._pronunciations)

    def _pronunciations(self, word: str, language: str) -> tuple[str, ...]:
        """Every way to say ``word`` (in lower case), or none if it cannot be said in ``language``."""
        said = self._listed(word.encode()) if language.lower().startswith("en") else []
        said = said or _spelled(word, language)
        return tuple(dict.fromkeys(said + [heard for sound in said for heard in _on_the_telephone(sound)]))

    def _listed(self, word: bytes) -> list[str]:
        """The file's lines are ``word P R O N`` and, for more ways to say it, ``word(2) P R O N`` right behind."""
        found: list[str] = []
        at = self._lines.find(b"\n" + word + b" ") + 1
        while at:
            end = self._lines.find(b"\n", at)
            name, _, sound = self._lines[at:end].partition(b" ")
            if name.partition(b"(")[0] != word:
                break
            found.append(sound.decode().strip())
            at = end + 1
        return found


def _spelled(word: str, language: str) -> list[str]:
    try:
        sound = to_arpabet(espeak.load().phonemes(word, language.lower()))
    except SpeechError:  # no espeak-ng here, or no such language: the word stays unknown
        return []
    return [sound] if sound else []


def _on_the_telephone(sound: str) -> list[str]:
    phonemes = sound.split()
    return [" ".join(heard if phoneme == said else phoneme for phoneme in phonemes) for said, heard in TELEPHONE_FORMS]
