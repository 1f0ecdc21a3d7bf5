"""Speech synthesis with espeak-ng: one thread renders for all calls, one segment (a sentence or two) at a time.

A segment is rendered at once (hundreds of times faster than real time); the next one is queued when its audio has been
consumed. So the buffer is bounded by the length of a segment, the thread never waits for a slow consumer, and no text
waits behind a long one.
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
"""Characters of a text: about five minutes of speech, and what Twilio's own ``<Say>`` takes."""

MAX_SEGMENT_LENGTH = 250
"""Characters of a segment: about 15 s of speech, 120 KB of mu-law, 20 ms of rendering."""

MAX_QUEUED_SEGMENTS = 256
"""Segments queued for the thread: 5 s of work. Beyond that the machine is overloaded, and requests are rejected."""

DEFAULT_WORDS_PER_MINUTE = 175
"""espeak-ng's normal speed."""

MIN_WORDS_PER_MINUTE, MAX_WORDS_PER_MINUTE = 80, 450
"""Limits of the speed, as espeak-ng accepts it."""

_SENTENCE_ENDS = ".!?;:\u2026\u3002"
_SENTENCE_BREAK = re.compile(rf"(?<=[{_SENTENCE_ENDS}])\s+")


class LocalSynthesizer:
    """Synthesizes with espeak-ng. A voice's ``name`` is espeak-ng's, such as ``en-us`` or ``en-us+f3``.

    An unknown name is replaced by the nearest voice.
    """

    def __init__(self) -> None:
        # Bounded by _submit, which rejects at MAX_QUEUED_SEGMENTS.
        self._queue: queue.SimpleQueue[_Segment | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._segments: set[_Segment] = set()
        self._closed = False

    async def start(self) -> None:
        """Do nothing: the thread starts with the first text."""

    async def speak(self, text: str, voice: Voice) -> AsyncGenerator[bytes, None]:
        """Yield the audio. Raises RequestNotSupported for a text over MAX_TEXT_LENGTH, or when the queue is full."""
        if len(text) > MAX_TEXT_LENGTH:
            raise RequestNotSupported(f"the text has {len(text)} characters; at most {MAX_TEXT_LENGTH} can be spoken")
        texts = list(split_segments(text))
        for number, part in enumerate(texts, start=1):
            pause = number < len(texts) and part[-1] in _SENTENCE_ENDS
            segment = _Segment(part, espeak_voice_name(voice), words_per_minute(voice), pause)
            self._submit(segment)
            try:
                while chunk := await segment.next_chunk():
                    yield chunk
            finally:
                segment.canceled = True
                self._segments.discard(segment)

    def _submit(self, segment: "_Segment") -> None:
        if self._closed:
            raise SpeechError("local speech has been closed")
        if self._queue.qsize() >= MAX_QUEUED_SEGMENTS:
            raise RequestNotSupported(f"local speech is overloaded: {MAX_QUEUED_SEGMENTS} texts are queued")
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=_render_segments, args=(self._queue,), name="espeak-ng", daemon=True)
            self._thread.start()
        self._segments.add(segment)
        self._queue.put(segment)

    async def aclose(self) -> None:
        """End every synthesis with an error, and stop the thread."""
        self._closed = True
        for segment in self._segments:
            segment.canceled = True
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join()  # under 1 ms: rendering is aborted at the next 200 ms of audio
            self._thread = None


class _Segment:
    """One segment of a text, and the audio that the thread has rendered so far."""

    def __init__(self, text: str, voice: str, rate: int, pause: bool) -> None:
        self._text, self._voice, self._rate, self._pause = text, voice, rate, pause
        self.canceled = False  # set on the event loop, read by the thread
        self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()
        self._audio: deque[bytes] = deque()  # bounded by MAX_SEGMENT_LENGTH
        self._ended = False
        self._error: SpeechError | None = None

    async def next_chunk(self) -> bytes | None:
        """Return the next audio, or None at the end. Raises SpeechError."""
        while True:
            ended = self._ended  # read before the audio, which always comes before the end
            if self._audio:
                return self._audio.popleft()
            if ended and self._error is not None:
                raise self._error
            if ended:
                return None
            await self._changed.wait()
            self._changed.clear()

    def render(self) -> None:
        """Render the segment, on the thread."""
        self._error = SpeechError("local speech was stopped")  # until rendering has completed
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

        def sink(pcm: bytes, last: bool = False) -> bool:
            return self._append_audio(resampler.process(pcm, last))

        library.render(self._text, self._voice, self._rate, self._pause, sink)
        if sink(b"", last=True):
            self._error = None

    def _append_audio(self, pcm: bytes) -> bool:
        if pcm and not self.canceled:
            self._audio.append(mulaw.encode(pcm))
            self._notify()
        return not self.canceled

    def _notify(self) -> None:
        try:
            self._loop.call_soon_threadsafe(self._changed.set)
        except RuntimeError:  # the event loop has been closed
            self.canceled = True


def _render_segments(segments: "queue.SimpleQueue[_Segment | None]") -> None:
    """Render segments until None comes; the thread's main function."""
    for segment in iter(segments.get, None):
        segment.render()


def split_segments(text: str) -> Iterator[str]:
    """Split a text into segments of at most MAX_SEGMENT_LENGTH characters, if possible at the end of a sentence."""
    segment = ""
    for sentence in _SENTENCE_BREAK.split(text.strip()):
        for part in textwrap.wrap(sentence, MAX_SEGMENT_LENGTH, break_on_hyphens=False):
            if len(segment) + 1 + len(part) > MAX_SEGMENT_LENGTH:
                yield segment
                segment = part
            else:
                segment = f"{segment} {part}".lstrip()
    if segment:
        yield segment


def espeak_voice_name(voice: Voice) -> str:
    """Return espeak-ng's name for a voice; one of another tier is replaced by the default voice of its language."""
    return voice.name if voice.tier == "local" else voice.language.lower()


def words_per_minute(voice: Voice) -> int:
    """Return espeak-ng's rate for a voice's speed."""
    return round(min(MAX_WORDS_PER_MINUTE, max(MIN_WORDS_PER_MINUTE, DEFAULT_WORDS_PER_MINUTE * voice.speed)))
