"""Recording of one ``<Record>``; sans-IO except for the ``finished`` event.

It ends with a key, with silence or at its maximum length. Audio during the beep is not recorded.
"""

import asyncio
import math
import struct

from vocelio.codecs import mulaw
from vocelio.gateway.simulator.media import voice_detection
from vocelio.gateway.simulator.media.messages import FRAME_SAMPLES, SAMPLE_RATE, SILENT_FRAME
from vocelio.gateway.simulator.twiml import parser

BEEP_HZ = 1000
BEEP_FRAMES = 20
"""0.4 s. Twilio's beep is not documented."""

BEEP_AMPLITUDE = 8000


class RecordTape:
    """Records one message. ``digits`` is the key that ended it, or empty."""

    def __init__(self, verb: parser.Record) -> None:
        self.finished = asyncio.Event()
        self.digits = ""
        self._verb = verb
        self._audio = bytearray()
        self._voiced_end = 0  # sample after the last audible one
        self._beep_frames_left = BEEP_FRAMES if verb.play_beep else 0
        self._is_beeping = False

    def next_frame(self) -> bytes:
        """Return the next frame that the caller hears: the beep, then silence."""
        self._is_beeping = self._beep_frames_left > 0
        self._beep_frames_left -= self._is_beeping
        return _BEEP_FRAME if self._is_beeping else SILENT_FRAME

    def on_audio(self, audio: bytes, key: str) -> None:
        """Process one frame of the caller and the key pressed in it."""
        if self._is_beeping or self.finished.is_set():
            return
        _, end = voice_detection.voiced_span(audio)
        if end:
            self._voiced_end = len(self._audio) + end
        self._audio += audio
        if key and key in self._verb.finish_on_key:
            self.digits = key
            self.finished.set()
        elif self._is_finished():
            self.finished.set()

    def _is_finished(self) -> bool:
        silent = len(self._audio) - self._voiced_end
        return silent >= self._verb.timeout * SAMPLE_RATE or len(self._audio) >= self._verb.max_length * SAMPLE_RATE

    @property
    def audio(self) -> bytes:
        """Mu-law audio, trimmed if the verb says so; empty if nothing is audible."""
        first, last = voice_detection.voiced_span(bytes(self._audio))
        if not last:
            return b""
        return bytes(self._audio[first:last] if self._verb.trim else self._audio)


def _make_beep() -> bytes:
    wave = (round(BEEP_AMPLITUDE * math.sin(math.tau * BEEP_HZ * n / SAMPLE_RATE)) for n in range(FRAME_SAMPLES))
    return mulaw.encode(struct.pack(f"<{FRAME_SAMPLES}h", *wave))


_BEEP_FRAME = _make_beep()
