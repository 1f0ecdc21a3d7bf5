"""One pocketsphinx decoder, and how it is made to hear a telephone and to reject what was not expected.

The telephone has nothing above 4 kHz, where the acoustic model (16 kHz) looks for an S: a little noise fills
the empty band, and S may also be heard as F or HH. The expected phrases stand in a grammar beside a loop of
single phones: whatever fits that loop better than every phrase was none of them, and is given as nothing.
"""

import itertools
import re
from typing import Any

import numpy

from vocelio.codecs import mulaw
from vocelio.codecs.resample import Resampler
from vocelio.engine import understanding

NOISE = 120.0  # standard deviation of the noise, in 16-bit steps: tried from 20 to 300, best in 8 voices
LEAD, TRAIL = 1_600, 2_400  # bytes of silence before and behind an utterance: the decoder wants some of each
STEP = 800  # bytes of mu-law decoded at a time: 100 ms
CEPSTRAL_MEAN = "56.52,-1.77,-6.18,10.53,-6.19,-8.37,-1.33,-11.37,-1.29,-1.55,-3.76,1.91,-3.60"
"""The mean of a telephone with that noise, over 8 voices: an utterance is too short to find its own."""

SWAPS = (("S", "F"), ("S", "HH"))  # what an S may sound like without its upper half
PHONES = [
    "AA",
    "AE",
    "AH",
    "AO",
    "AW",
    "AY",
    "B",
    "CH",
    "D",
    "DH",
    "EH",
    "ER",
    "EY",
    "F",
    "G",
    "HH",
    "IH",
    "IY",
    "JH",
    "K",
    "L",
    "M",
    "N",
    "NG",
    "OW",
    "OY",
    "P",
    "R",
    "S",
    "SH",
    "T",
    "TH",
    "UH",
    "UW",
    "V",
    "W",
    "Y",
    "Z",
    "ZH",
]
MAX_GRAMMARS = 100  # kept in a decoder; a flow has a few dozen
MAX_WORDS = 2_000  # in one grammar

_SPELLING = {
    "sh": "SH", "ch": "CH", "th": "TH", "ph": "F", "ck": "K", "qu": "K W", "ee": "IY", "oo": "UW", "ea": "IY",
    "ou": "AW", "ow": "OW", "ai": "EY", "ay": "EY", "oy": "OY", "oi": "OY", "ng": "NG", "ar": "AA R", "er": "ER",
    "or": "AO R", "ir": "ER", "ur": "ER", "a": "AE", "b": "B", "c": "K", "d": "D", "e": "EH", "f": "F", "g": "G",
    "h": "HH", "i": "IH", "j": "JH", "k": "K", "l": "L", "m": "M", "n": "N", "o": "OW", "p": "P", "q": "K", "r": "R",
    "s": "S", "t": "T", "u": "AH", "v": "V", "w": "W", "x": "K S", "y": "IY", "z": "Z",
}  # fmt: skip
_LETTERS = re.compile("|".join(sorted(_SPELLING, key=len, reverse=True)))


class Decoder:
    """Recognises one utterance at a time."""

    def __init__(self, seed: int = 0) -> None:
        import pocketsphinx

        config = pocketsphinx.Config(lm=None, loglevel="FATAL", logfn="/dev/null", wip=1e-20, lw=1.0, silprob=0.3)
        self._decoder: Any = pocketsphinx.Decoder(config)
        self._random = numpy.random.default_rng(seed)
        self._grammars: dict[tuple[tuple[str, ...], bool], str] = {}
        self._words: set[str] = set()
        self._numbers = itertools.count(1)
        for phone in PHONES:
            self._decoder.add_word(f"g_{phone.lower()}", phone, phone == PHONES[-1])

    def begin(self, phrases: tuple[str, ...], repeat: bool) -> None:
        """A new utterance."""
        self._decoder.activate_search(self._grammar(phrases, repeat))
        self._decoder.set_cmn(CEPSTRAL_MEAN)
        self._upward = Resampler(mulaw.SAMPLE_RATE, 16_000)
        self._decoder.start_utt()
        self._process(bytes([mulaw.SILENCE]) * LEAD)

    def feed(self, sound: bytes) -> None:
        """More of it, mu-law."""
        for start in range(0, len(sound), STEP):
            self._process(sound[start : start + STEP])

    def partial(self) -> tuple[str, float]:
        """What it is so far."""
        return self._understood()

    def end(self) -> tuple[str, float]:
        """What it was, and how sure that is, 0 to 1 (the posterior among all that was expected)."""
        self._process(bytes([mulaw.SILENCE]) * TRAIL, last=True)
        self._decoder.end_utt()
        return self._understood()

    def abort(self) -> None:
        """It is of no interest any more."""
        self._decoder.end_utt()

    def _process(self, sound: bytes, last: bool = False) -> None:
        pcm = numpy.frombuffer(self._upward.process(mulaw.decode(sound), last), "<i2")
        if len(pcm):
            noisy = pcm + self._random.normal(0, NOISE, len(pcm))
            self._decoder.process_raw(noisy.clip(-32768, 32767).astype("<i2").tobytes(), False, False)

    def _understood(self) -> tuple[str, float]:
        found = self._decoder.hyp()
        if found is None or not found.hypstr or "g_" in found.hypstr:
            return "", 0.0
        return found.hypstr, min(1.0, max(0.0, float(found.prob)))

    # Grammars and words

    def _grammar(self, phrases: tuple[str, ...], repeat: bool) -> str:
        key = (phrases, repeat)
        if key not in self._grammars:
            name = f"g{next(self._numbers)}"
            self._decoder.add_jsgf_string(name, self._jsgf(phrases, repeat))
            self._grammars[key] = name
            if len(self._grammars) > MAX_GRAMMARS:
                self._decoder.remove_search(self._grammars.pop(next(iter(self._grammars))))
        return self._grammars[key]

    def _jsgf(self, phrases: tuple[str, ...], repeat: bool) -> str:
        spoken = [words for phrase in phrases if (words := understanding.words(phrase))]
        vocabulary = {word for words in spoken for word in words if word.isascii()}
        for word in sorted(vocabulary - self._words)[:MAX_WORDS]:
            self._teach(word)
        known = [f"({' '.join(words)})" for words in spoken if set(words) <= self._words]
        garbage = " | ".join(f"g_{phone.lower()}" for phone in PHONES)
        if not known:
            return f"#JSGF V1.0; grammar g; public <top> = ({garbage})+;"
        expected = f"({' | '.join(known)}){'+' if repeat else ''}"
        return f"#JSGF V1.0; grammar g; public <top> = {expected} | ({garbage})+;"

    def _teach(self, word: str) -> None:
        """Every pronunciation of the word, and how each sounds on a telephone."""
        known = [phones for entry in self._entries(word) if (phones := self._decoder.lookup_word(entry))]
        if not known:
            spelt = " ".join(_SPELLING[part] for part in _LETTERS.findall(word))
            if not spelt:
                return
            self._decoder.add_word(word, spelt, False)
            known = [spelt]
        variants = [self._swapped(phones, swap) for phones in known for swap in SWAPS]
        for number, phones in enumerate(dict.fromkeys(v for v in variants if v not in known), start=len(known) + 1):
            self._decoder.add_word(f"{word}({number})", phones, False)
        self._words.add(word)

    def _entries(self, word: str) -> list[str]:
        return [word, *(f"{word}({number})" for number in range(2, 5))]

    def _swapped(self, phones: str, swap: tuple[str, str]) -> str:
        return " ".join(swap[1] if phone == swap[0] else phone for phone in phones.split())
