"""Speaking with espeak-ng: one thread renders for every call, a sentence or two at a time, in turn.

A piece of text is rendered at once (hundreds of times faster than it sounds) and handed to its caller; the
next piece is asked for when the caller has taken that. So what waits is bounded by the length of a piece, the
thread never waits for a slow caller, and nobody waits behind a long text.
"""

import asyncio
import queue
import re
import threading
from collections import deque
from collections.abc import AsyncIterator, Iterator

from vocelio.codecs import mulaw
from vocelio.codecs.resample import Resampler
from vocelio.engine.voice import Voice
from vocelio.gateway.speech.local import espeak
from vocelio.gateway.speech.ports import SpeechError

MAX_TEXT = 4096
"""Characters in one text: about five minutes of speech, and what Twilio's own ``<Say>`` takes."""

MAX_PIECE = 250
"""Characters rendered at a time: about 15 s of speech, 120 KB of mu-law, 20 ms of rendering."""

MAX_WAITING = 256
"""Pieces that may wait for the thread: 5 s of work. Past it a speak is refused: the machine is overloaded."""

WORDS_PER_MINUTE = 175
"""espeak-ng's normal speed."""

SLOWEST, FASTEST = 80, 450
"""Words a minute that espeak-ng takes; a speed outside is limited to them."""

_SENTENCE_END = re.compile(r"(?<=[.!?;:\u2026\u3002])\s+")
_WORD_END = re.compile(r"\s+")


class LocalSynthesizer:
    """A Synthesizer on espeak-ng. A voice's ``name`` is espeak-ng's, such as ``en-us`` or ``en-us+f3``."""

    def __init__(self) -> None:
        # Bounded by _wait_for: at MAX_WAITING a speak is refused.
        self._queue: queue.SimpleQueue[_Piece | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._pieces: set[_Piece] = set()
        self._closed = False

    async def speak(self, text: str, voice: Voice) -> AsyncIterator[bytes]:
        """See ``Synthesizer.speak``. Raises SpeechError for a text over MAX_TEXT or an unknown voice."""
        if len(text) > MAX_TEXT:
            raise SpeechError(f"a text of {len(text)} characters: at most {MAX_TEXT} can be spoken")
        texts = list(split(text))
        for number, part in enumerate(texts, start=1):
            piece = _Piece(part, voice, pause=number < len(texts))
            self._wait_for(piece)
            try:
                async for chunk in piece.chunks():
                    yield chunk
            finally:
                piece.cancelled = True
                self._pieces.discard(piece)

    def _wait_for(self, piece: "_Piece") -> None:
        if self._closed:
            raise SpeechError("local speech has been closed")
        if len(self._pieces) >= MAX_WAITING:
            raise SpeechError(f"local speech is overloaded: {MAX_WAITING} texts are waiting")
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=_render_all, args=(self._queue,), name="espeak-ng", daemon=True)
            self._thread.start()
        self._pieces.add(piece)
        self._queue.put(piece)

    async def aclose(self) -> None:
        """End every speak with a SpeechError, and the thread."""
        self._closed = True
        for piece in self._pieces:
            piece.cancelled = True
        if self._thread is not None and self._thread.is_alive():
            last = _Last()
            self._queue.put(last)
            self._queue.put(None)
            await last.reached.wait()
            self._thread.join()  # it has nothing left to do


class _Piece:
    """One piece of text on its way through the thread and back, and the audio that has come so far."""

    def __init__(self, text: str, voice: Voice, pause: bool) -> None:
        self.text, self.voice, self.pause = text, voice, pause
        self.cancelled = False  # set on the event loop, read by the thread
        self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()
        self._audio: deque[bytes] = deque()  # bounded by MAX_PIECE
        self._ended = False
        self._error: SpeechError | None = None

    async def chunks(self) -> AsyncIterator[bytes]:
        while True:
            ended = self._ended  # before looking at the audio, which always comes before the end
            while self._audio:
                yield self._audio.popleft()
            if ended:
                break
            await self._changed.wait()
            self._changed.clear()
        if self._error is not None:
            raise self._error

    def render(self) -> None:
        """Runs on the thread."""
        self._error = SpeechError("espeak-ng stopped in mid-speech")  # until it has not
        try:
            if self.cancelled:
                return
            library = espeak.load()
            resampler = Resampler(library.sample_rate, mulaw.SAMPLE_RATE)
            library.render(
                self.text, espeak_voice(self.voice), words_per_minute(self.voice.speed), self.pause,
                lambda pcm: self._take(resampler.process(pcm)),
            )
            self._take(resampler.process(b"", last=True))
            self._error = None
        except SpeechError as error:
            self._error = error
        finally:
            self._ended = True
            self._tell()

    def _take(self, pcm: bytes) -> bool:
        if pcm and not self.cancelled:
            self._audio.append(mulaw.encode(pcm))
            self._tell()
        return not self.cancelled

    def _tell(self) -> None:
        try:
            self._loop.call_soon_threadsafe(self._changed.set)
        except RuntimeError:  # the event loop has been closed: nobody listens any more
            self.cancelled = True
