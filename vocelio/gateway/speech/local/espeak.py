"""espeak-ng through ctypes: text in, sound or phonemes out, both at once and in the calling thread.

The library's state is global to the process (six threads without a lock crashed it), so there is one
``Espeak`` a process, from ``load``, and each of its methods holds its lock. ctypes lets other threads run
meanwhile. Nothing here knows of calls, of telephones or of asyncio.
"""

import ctypes
import functools
import logging
import re
import threading
from collections.abc import Callable
from pathlib import Path

from vocelio.gateway.speech.interfaces import SpeechError

_SYNCHRONOUS = 2  # AUDIO_OUTPUT_SYNCHRONOUS: no sound device, everything through the callback
_DONT_EXIT = 0x8000  # espeakINITIALIZE_DONT_EXIT: report a missing data folder instead of ending the process
_CHUNK_MS = 200  # audio in one callback: its 0.2 ms of rendering hides behind 1 ms until the first
_RATE_PARAMETER = 1  # espeakRATE, words a minute
_POSITION_CHARACTER = 1
_UTF8 = 1  # espeakCHARS_UTF8; leaving out espeakSSML (0x10) and espeakPHONEMES (0x100) makes markup plain text
_END_PAUSE = 0x1000  # espeakENDPAUSE: a sentence's pause also behind the last one
_PHONEMES_SPACED = ord(" ") << 8  # phoneme mode: mnemonics in ASCII, separated by this character

DEFAULT_VOICE = "en-us"
"""Speaks for every voice that there is not: a strange accent is better than silence."""

MAX_CACHED_VOICES = 1000
"""Names of voices whose nearest voice is kept. Looking for one that there is not takes 0.1 ms."""

_LANGUAGE_PATTERN = re.compile(r"[a-zA-Z]{2,8}(-[a-zA-Z0-9]{1,8})*")
"""Nothing that could be read as a path."""

_LANGUAGE_ALIASES = {"zh": "cmn", "zh-hk": "yue", "no": "nb"}
"""Languages that espeak-ng has, and finds only under another code."""

_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)


LOG = logging.getLogger(__name__)

_load_lock = threading.Lock()  # the cache alone would let two threads set the library up at once, which crashes it


def load() -> "Espeak":
    """The process's espeak-ng. Raises SpeechError if it is not installed or does not work."""
    with _load_lock:
        return _load()


@functools.cache
def _load() -> "Espeak":
    try:
        import espeakng_loader
    except ImportError as error:
        raise SpeechError("local speech is not installed: pip install 'vocelio[local]'") from error
    try:
        return Espeak(espeakng_loader.get_library_path(), espeakng_loader.get_data_path())
    except (OSError, RuntimeError) as error:
        raise SpeechError(f"espeak-ng cannot be loaded: {error}") from error


class Espeak:
    """One loaded library. ``sample_rate`` is that of its PCM."""

    def __init__(self, library: str, data: str) -> None:
        self._lock = threading.Lock()
        self._library = ctypes.CDLL(library)
        self.sample_rate = int(self._library.espeak_Initialize(_SYNCHRONOUS, _CHUNK_MS, data.encode(), _DONT_EXIT))
        if self.sample_rate <= 0:
            raise SpeechError("espeak-ng does not accept its data folder")
        self._library.espeak_TextToPhonemes.restype = ctypes.c_char_p
        self._variants = frozenset(path.name for path in (Path(data) / "voices" / "!v").iterdir())
        self.nearest_voice = functools.lru_cache(MAX_CACHED_VOICES)(self._nearest_voice)
        self._sink: Callable[[bytes], bool] = _discard
        self._callback = _Callback(self._on_audio)  # kept: the library only holds its address
        self._library.espeak_SetSynthCallback(self._callback)

    def render(self, text: str, voice: str, words_per_minute: int, pause: bool, sink: Callable[[bytes], bool]) -> None:
        """Speak ``text`` at ``rate`` words a minute, giving PCM to ``take`` until it returns False.

        ``pause`` adds the silence that follows a sentence; without it the sound ends with the last word.
        A voice that there is not is replaced by the nearest. ``take`` must not raise.
        """
        nearest = self.nearest_voice(voice)
        with self._lock:
            self._set_voice(nearest)
            self._library.espeak_SetParameter(_RATE_PARAMETER, words_per_minute, 0)
            self._sink = sink
            try:
                data = _encode_text(text)
                flags = _UTF8 | (_END_PAUSE if pause else 0)
                self._library.espeak_Synth(data, len(data) + 1, 0, _POSITION_CHARACTER, 0, flags, None, None)
            finally:
                self._sink = _discard

    def phonemes(self, text: str, language: str) -> list[str]:
        """The phonemes of ``text``, as espeak's ASCII mnemonics with their stress marks.

        Raises SpeechError for a language that espeak-ng does not have under that code.
        """
        with self._lock:
            if not self._set_first_available(_with_base_language(language)):
                raise SpeechError(f"espeak-ng has no language {language!r}")
            found: list[str] = []
            rest = ctypes.c_char_p(_encode_text(text))
            while rest.value:  # one clause at a time; the library moves the pointer
                spoken = self._library.espeak_TextToPhonemes(ctypes.byref(rest), _UTF8, _PHONEMES_SPACED)
                found += (spoken or b"").decode(errors="replace").split()
            return found

    def _nearest_voice(self, voice: str) -> str:
        """``voice`` itself if there is such a one, else its language's, else LAST_RESORT; with its variant."""
        name, _, variant = voice.partition("+")
        with self._lock:
            spoken = self._set_first_available(_candidate_names(name))
        known = variant in self._variants
        found = (spoken or DEFAULT_VOICE) + (f"+{variant}" if known else "")
        if not spoken or (variant and not known):  # once for each name that is remembered
            LOG.warning("espeak-ng has no voice %r: %r speaks instead", voice, found)
        return found

    def _set_first_available(self, names: list[str]) -> str | None:
        """Set the first of the voices that there is."""
        return next((name for name in names if _LANGUAGE_PATTERN.fullmatch(name) and self._set_voice(name)), None)

    def _set_voice(self, name: str) -> bool:
        return bool(self._library.espeak_SetVoiceByName(name.encode()) == 0)

    def _on_audio(self, samples: int | None, count: int, _events: int | None) -> int:
        """Called by the library: 0 goes on, 1 aborts."""
        if not samples or not count:
            return 0
        return 0 if self._sink(ctypes.string_at(samples, 2 * count)) else 1


def _discard(_pcm: bytes) -> bool:
    return False


def _with_base_language(name: str) -> list[str]:
    """A name, and failing that its language without the region: there is no ``de-de``, but ``de``."""
    return [name, name.partition("-")[0]]


def _candidate_names(name: str) -> list[str]:
    """What a voice may be found as, best first."""
    return [code for one in _with_base_language(name) for code in (one, _LANGUAGE_ALIASES.get(one.lower(), one))]


def _encode_text(text: str) -> bytes:
    return text.replace("\0", " ").encode(errors="replace")
