"""Speaking with espeak-ng: one thread renders for every call, a sentence or two at a time, in turn.

A piece of text is rendered at once (hundreds of times faster than it sounds) and handed to its caller; the
next piece is asked for when the caller has taken that. So what waits is bounded by the length of a piece, the
thread never waits for a slow caller, and nobody waits behind a long text.
"""

import asyncio
import queue
import re
import textwrap
import threading
from collections import deque
from collections.abc import AsyncGenerator, Iterator

from vocelio.codecs import mulaw
from vocelio.codecs.resample import Resampler
from vocelio.engine.voice import Voice
from vocelio.gateway.speech.interfaces import RequestNotSupported, SpeechError
from vocelio.gateway.speech.local import espeak

MAX_TEXT_LENGTH = 4096
"""Characters in one text: about five minutes of speech, and what Twilio's own ``<Say>`` takes."""

MAX_SEGMENT_LENGTH = 250
"""Characters rendered at a time: about 15 s of speech, 120 KB of mu-law, 20 ms of rendering."""

MAX_QUEUED_SEGMENTS = 256
"""Pieces that may wait for the thread: 5 s of work. Past it a speak is refused: the machine is overloaded."""

DEFAULT_WORDS_PER_MINUTE = 175
"""espeak-ng's normal speed."""

MIN_WORDS_PER_MINUTE, MAX_WORDS_PER_MINUTE = 80, 450
"""Words a minute that espeak-ng takes; a speed outside is limited to them."""

_SENTENCE_ENDS = ".!?;:\u2026\u3002"
_SENTENCE_BREAK = re.compile(rf"(?<=[{_SENTENCE_ENDS}])\s+")


class LocalSynthesizer:
    """A Synthesizer on espeak-ng. A voice's ``name`` is espeak-ng's, such as ``en-us`` or ``en-us+f3``.

    For a name that espeak-ng has not, the nearest voice that it has speaks.
    """

    def __init__(self) -> None:
        # Bounded by _submit: at MAX_WAITING a speak is refused.
        self._queue: queue.SimpleQueue[_Segment | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._segments: set[_Segment] = set()
        self._closed = False

    async def start(self) -> None:
        """See ``Synthesizer.start``: the thread starts with the first text."""

    async def speak(self, text: str, voice: Voice) -> AsyncGenerator[bytes, None]:
        """See ``Synthesizer.speak``. Raises Unsuitable for a text over MAX_TEXT, or when too many are waiting."""
        if len(text) > MAX_TEXT_LENGTH:
            raise RequestNotSupported(f"a text of {len(text)} characters: at most {MAX_TEXT_LENGTH} can be spoken")
        texts = list(split_segments(text))
        for number, part in enumerate(texts, start=1):
            pause = number < len(texts) and part[-1] in _SENTENCE_ENDS
            piece = _Segment(part, espeak_voice_name(voice), words_per_minute(voice), pause)
            self._submit(piece)
            try:
                while chunk := await piece.next_chunk():
                    yield chunk
            finally:
                piece.canceled = True
                self._segments.discard(piece)

    def _submit(self, segment: "_Segment") -> None:
        if self._closed:
            raise SpeechError("local speech has been closed")
        if self._queue.qsize() >= MAX_QUEUED_SEGMENTS:
            raise RequestNotSupported(f"local speech is overloaded: {MAX_QUEUED_SEGMENTS} texts are waiting")
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=_render_segments, args=(self._queue,), name="espeak-ng", daemon=True)
            self._thread.start()
        self._segments.add(segment)
        self._queue.put(segment)

    async def aclose(self) -> None:
        """End every speak with a SpeechError, and the thread."""
        self._closed = True
        for piece in self._segments:
            piece.canceled = True
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join()  # under a millisecond: whatever it renders is aborted at its next 200 ms of audio
            self._thread = None


class _Segment:
    """One piece of text on its way through the thread and back, and the audio that has come so far."""

    def __init__(self, text: str, voice: str, rate: int, pause: bool) -> None:
        self._text, self._voice, self._rate, self._pause = text, voice, rate, pause
        self.canceled = False  # set on the event loop, read by the thread
        self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()
        self._audio: deque[bytes] = deque()  # bounded by MAX_PIECE
        self._ended = False
        self._error: SpeechError | None = None

    async def next_chunk(self) -> bytes | None:
        """The next audio, or None at the end. Raises SpeechError."""
        while True:
            ended = self._ended  # before looking at the audio, which always comes before the end
            if self._audio:
                return self._audio.popleft()
            if ended and self._error is not None:
                raise self._error
            if ended:
                return None
            await self._changed.wait()
            self._changed.clear()

    def render(self) -> None:
        """Runs on the thread."""
        self._error = SpeechError("local speech was stopped")  # until it has gone through
        try:
            if not self.canceled:
                self._render(espeak.load())
        except SpeechError as error:
            self._error = error
        finally:
            self._ended = True
            self._notify()

    def _render(self, library: espeak.Espeak) -> None:
        resampler = Resampler(library.sample_rate, mulaw.SAMPLE_RATE)

        def take(pcm: bytes, last: bool = False) -> bool:
            return self._append_audio(resampler.process(pcm, last))

        library.render(self._text, self._voice, self._rate, self._pause, take)
        if take(b"", last=True):
            self._error = None

    def _append_audio(self, pcm: bytes) -> bool:
        if pcm and not self.canceled:
            self._audio.append(mulaw.encode(pcm))
            self._notify()
        return not self.canceled

    def _notify(self) -> None:
        try:
            self._loop.call_soon_threadsafe(self._changed.set)
        except RuntimeError:  # the event loop has been closed: nobody listens any more
            self.canceled = True


def _render_segments(segments: "queue.SimpleQueue[_Segment | None]") -> None:
    """The thread: renders one piece after the other until it finds None."""
    for piece in iter(segments.get, None):
        piece.render()


def split_segments(text: str) -> Iterator[str]:
    """The text in pieces of at most MAX_PIECE characters, cut behind a sentence where there is one."""
    piece = ""
    for sentence in _SENTENCE_BREAK.split(text.strip()):
        for part in textwrap.wrap(sentence, MAX_SEGMENT_LENGTH, break_on_hyphens=False):
            if len(piece) + 1 + len(part) > MAX_SEGMENT_LENGTH:
                yield piece
                piece = part
            else:
                piece = f"{piece} {part}".lstrip()
    if piece:
        yield piece


def espeak_voice_name(voice: Voice) -> str:
    """espeak-ng's name for a voice; one of another tier is replaced by the plain voice of its language."""
    return voice.name if voice.tier == "local" else voice.language.lower()


def words_per_minute(voice: Voice) -> int:
    """espeak-ng's rate for a voice's speed."""
    return round(min(MAX_WORDS_PER_MINUTE, max(MIN_WORDS_PER_MINUTE, DEFAULT_WORDS_PER_MINUTE * voice.speed)))
