"""espeak-ng through ctypes: text in, sound or phonemes out, both at once and in the calling thread.

The library's state is global to the process (six threads without a lock crashed it), so there is one
``Espeak`` a process, from ``load``, and each of its methods holds its lock. ctypes lets other threads run
meanwhile. Nothing here knows of calls, of telephones or of asyncio.
"""

import ctypes
import functools
import re
import threading
from collections.abc import Callable
from pathlib import Path

from vocelio.gateway.speech.ports import SpeechError

_SYNCHRONOUS = 2  # AUDIO_OUTPUT_SYNCHRONOUS: no sound device, everything through the callback
_DONT_EXIT = 0x8000  # espeakINITIALIZE_DONT_EXIT: report a missing data folder instead of ending the process
_CHUNK_MS = 200  # audio in one callback: its 0.2 ms of rendering hides behind 1 ms until the first
_RATE_PARAMETER = 1  # espeakRATE, words a minute
_POSITION_CHARACTER = 1
_UTF8 = 1  # espeakCHARS_UTF8; leaving out espeakSSML (0x10) and espeakPHONEMES (0x100) makes markup plain text
_END_PAUSE = 0x1000  # espeakENDPAUSE: a sentence's pause also behind the last one
_PHONEMES_SPACED = ord(" ") << 8  # phoneme mode: mnemonics in ASCII, separated by this character

_VOICE_NAME = re.compile(r"[a-zA-Z]{2,8}(-[a-zA-Z0-9]{1,8})*(\+[A-Za-z0-9 ]{1,20})?")
"""A language and perhaps a variant; nothing that could be read as a path."""

_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)


_loading = threading.Lock()  # the cache alone would let two threads set the library up at once, which crashes it


def load() -> "Espeak":
    """The process's espeak-ng. Raises SpeechError if it is not installed or does not work."""
    with _loading:
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
        self._take: Callable[[bytes], bool] = _refuse
        self._callback = _Callback(self._on_audio)  # kept: the library only holds its address
        self._library.espeak_SetSynthCallback(self._callback)

    def render(self, text: str, voice: str, rate: int, pause: bool, take: Callable[[bytes], bool]) -> None:
        """Speak ``text`` at ``rate`` words a minute, giving PCM to ``take`` until it returns False.

        ``pause`` adds the silence that follows a sentence; without it the sound ends with the last word.
        Raises SpeechError for an unknown voice. ``take`` must not raise.
        """
        with self._lock:
            self._select(voice)
            self._library.espeak_SetParameter(_RATE_PARAMETER, rate, 0)
            self._take = take
            try:
                data = _c_text(text)
                flags = _UTF8 | (_END_PAUSE if pause else 0)
                self._library.espeak_Synth(data, len(data) + 1, 0, _POSITION_CHARACTER, 0, flags, None, None)
            finally:
                self._take = _refuse

    def phonemes(self, text: str, voice: str) -> list[str]:
        """The phonemes of ``text``, as espeak's ASCII mnemonics with their stress marks."""
        with self._lock:
            self._select(voice)
            found: list[str] = []
            rest = ctypes.c_char_p(_c_text(text))
            while rest.value:  # one clause at a time; the library moves the pointer
                spoken = self._library.espeak_TextToPhonemes(ctypes.byref(rest), _UTF8, _PHONEMES_SPACED)
                found += (spoken or b"").decode(errors="replace").split()
            return found

    def _select(self, voice: str) -> None:
        _, _, variant = voice.partition("+")
        if variant and variant not in self._variants:  # the library would ignore it
            raise SpeechError(f"espeak-ng has no voice variant {variant!r}")
        if not _VOICE_NAME.fullmatch(voice) or not any(map(self._set_voice, _names(voice))):
            raise SpeechError(f"espeak-ng has no voice {voice!r}")

    def _set_voice(self, name: str) -> bool:
        return bool(self._library.espeak_SetVoiceByName(name.encode()) == 0)

    def _on_audio(self, samples: int | None, count: int, _events: int | None) -> int:
        """Called by the library: 0 goes on, 1 aborts."""
        if not samples or not count:
            return 0
        return 0 if self._take(ctypes.string_at(samples, 2 * count)) else 1


def _refuse(_pcm: bytes) -> bool:
    return False


def _names(voice: str) -> list[str]:
    """A voice, or failing that its language without the region: there is no ``de-de``, but ``de``."""
    place, plus, variant = voice.partition("+")
    return [voice, place.partition("-")[0] + plus + variant]


def _c_text(text: str) -> bytes:
    return text.replace("\0", " ").encode(errors="replace")
