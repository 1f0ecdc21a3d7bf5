"""espeak-ng bindings (ctypes): text in, audio or phonemes out, synchronously in the calling thread.

Only workers may use it: some texts corrupt the library's memory. Its state is global to the process (six threads
without a lock crashed it), so there is one ``Espeak`` per process, from ``load``, and each of its methods holds its
lock. ctypes releases the GIL. Nothing here knows about calls, telephones or asyncio.
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
_CHUNK_MS = 200  # of audio per callback; rendering it takes 0.2 ms, the first one 1 ms
_RATE_PARAMETER = 1  # espeakRATE, words per minute
_POSITION_CHARACTER = 1
_UTF8 = 1  # espeakCHARS_UTF8; without espeakSSML (0x10) and espeakPHONEMES (0x100) markup is plain text
_END_PAUSE = 0x1000  # espeakENDPAUSE: a sentence's pause also after the last one
_PHONEMES_SPACED = ord(" ") << 8  # phoneme mode: mnemonics in ASCII, separated by this character

DEFAULT_VOICE = "en-us"
"""Replaces unknown voices: a foreign accent is better than silence."""

MAX_CACHED_VOICES = 1000
"""Voice names whose nearest voice is cached; looking up an unknown one takes 0.1 ms."""

_LANGUAGE_PATTERN = re.compile(r"[a-zA-Z]{2,8}(-[a-zA-Z0-9]{1,8})*")
"""Excludes anything that could be taken for a path."""

_LANGUAGE_ALIASES = {"zh": "cmn", "zh-hk": "yue", "no": "nb"}
"""Languages that espeak-ng has only under another code."""

_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)


LOG = logging.getLogger(__name__)

_load_lock = threading.Lock()  # the cache alone would let two threads initialize the library at once, which crashes it


def load() -> "Espeak":
    """Return the process's espeak-ng. Raises SpeechError if it is not installed or does not work."""
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
        raise SpeechError(f"espeak-ng could not be loaded: {error}") from error


class Espeak:
    """The loaded library. ``sample_rate`` is that of its PCM.

    ``on_voice_replaced`` is called with a voice that does not exist and the one used instead, once per cached name.
    """

    def __init__(self, library: str, data: str) -> None:
        self._lock = threading.Lock()
        self._library = ctypes.CDLL(library)
        self.sample_rate = int(self._library.espeak_Initialize(_SYNCHRONOUS, _CHUNK_MS, data.encode(), _DONT_EXIT))
        if self.sample_rate <= 0:
            raise SpeechError("espeak-ng rejected its data directory")
        self._library.espeak_TextToPhonemes.restype = ctypes.c_char_p
        self._variants = frozenset(path.name for path in (Path(data) / "voices" / "!v").iterdir())
        self.on_voice_replaced: Callable[[str, str], None] = _log_replaced_voice
        self.nearest_voice = functools.lru_cache(MAX_CACHED_VOICES)(self._nearest_voice)
        self._sink: Callable[[bytes], bool] = _discard
        self._callback = _Callback(self._on_audio)  # keeps it alive: the library only has its address
        self._library.espeak_SetSynthCallback(self._callback)

    def render(self, text: str, voice: str, words_per_minute: int, pause: bool, sink: Callable[[bytes], bool]) -> None:
        """Speak ``text``, passing PCM to ``sink`` until it returns False; ``sink`` must not raise.

        ``pause`` adds the silence that follows a sentence; without it the audio ends with the last word. An unknown
        voice is replaced by the nearest one.
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
        """Return the phonemes of ``text``, as espeak's ASCII mnemonics with stress marks.

        Raises SpeechError for a language that espeak-ng does not have under that code.
        """
        with self._lock:
            if not self._set_first_available(_with_base_language(language)):
                raise SpeechError(f"espeak-ng has no language {language!r}")
            phonemes: list[str] = []
            remaining = ctypes.c_char_p(_encode_text(text))
            while remaining.value:  # one clause at a time; the library moves the pointer
                clause = self._library.espeak_TextToPhonemes(ctypes.byref(remaining), _UTF8, _PHONEMES_SPACED)
                phonemes += (clause or b"").decode(errors="replace").split()
            return phonemes

    def _nearest_voice(self, voice: str) -> str:
        """Return ``voice``, else its language's voice, else DEFAULT_VOICE, with the variant if that exists."""
        name, _, variant = voice.partition("+")
        with self._lock:
            available = self._set_first_available(_candidate_names(name))
        has_variant = variant in self._variants
        nearest = (available or DEFAULT_VOICE) + (f"+{variant}" if has_variant else "")
        if not available or (variant and not has_variant):
            self.on_voice_replaced(voice, nearest)
        return nearest

    def _set_first_available(self, names: list[str]) -> str | None:
        """Set the first voice that exists, and return its name."""
        return next((name for name in names if _LANGUAGE_PATTERN.fullmatch(name) and self._set_voice(name)), None)

    def _set_voice(self, name: str) -> bool:
        return bool(self._library.espeak_SetVoiceByName(name.encode()) == 0)

    def _on_audio(self, samples: int | None, count: int, _events: int | None) -> int:
        """Called by the library; return 0 to continue, 1 to abort."""
        if not samples or not count:
            return 0
        return 0 if self._sink(ctypes.string_at(samples, 2 * count)) else 1


def _discard(_pcm: bytes) -> bool:
    return False


def _log_replaced_voice(voice: str, used: str) -> None:
    LOG.warning("espeak-ng has no voice %r; using %r instead", voice, used)


def _with_base_language(name: str) -> list[str]:
    """Return a name and its language without the region: espeak-ng has ``de``, but not ``de-de``."""
    return [name, name.partition("-")[0]]


def _candidate_names(name: str) -> list[str]:
    """Return the names under which espeak-ng may have a voice, best first."""
    return [code for base in _with_base_language(name) for code in (base, _LANGUAGE_ALIASES.get(base.lower(), base))]


def _encode_text(text: str) -> bytes:
    return text.replace("\0", " ").encode(errors="replace")
