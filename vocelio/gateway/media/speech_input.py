"""Listening, sans-IO but for its recogniser: the caller's sound, frame by frame, to edges of speech and texts.

Every frame goes through the voice activity detector. A recogniser is opened as soon as somebody listens, which gives it
the length of a prompt to connect; it is fed only speech, from ``PREROLL`` before its first voice, so that no first
syllable is cut. A listening that begins while the caller is already speaking hears the utterance from its start, as far
as it is remembered.
"""

from collections import deque
from collections.abc import Callable

from vocelio.codecs import mulaw
from vocelio.codecs.vad import DEFAULT_SILENCE_SECONDS, SpeechStarted, VadEvent, VoiceActivityDetector
from vocelio.engine.actions import Listen
from vocelio.gateway.speech.interfaces import Recognition, SpeechError, Transcript

PREROLL_BYTES = 4_000  # bytes, 0.5 s: 0.3 s before the first voiced frame, and the frames that it took to notice
LOOKBACK_BYTES = 24_000  # bytes, 3 s: how much of an utterance is kept that nobody listens for yet

RecognitionOpener = Callable[[Listen, Callable[[Transcript], None], Callable[[SpeechError], None]], Recognition]


class SpeechInput:
    """The ear of one call. ``edge``, ``heard`` and ``failed`` are told what happens, on the event loop.

    ``open_`` begins a recognition of what is listened for.
    """

    def __init__(
        self,
        open_recognition: RecognitionOpener,
        on_vad: Callable[[VadEvent], None],
        on_transcript: Callable[[Listen, Transcript], None],
        on_error: Callable[[Listen, SpeechError], None],
    ) -> None:
        self._open_recognition = open_recognition
        self._on_vad, self._on_transcript, self._on_error = on_vad, on_transcript, on_error
        self._vad = VoiceActivityDetector()
        self._lookback: deque[bytes] = deque()
        self._lookback_bytes = 0
        self._request: Listen | None = None
        self._recognition: Recognition | None = None
        self._feeding = self._finishing = False

    def on_audio(self, audio: bytes) -> None:
        """The next sound of the caller: mu-law, usually 20 ms."""
        self._buffer_audio(audio)
        if self._recognition and self._feeding:
            self._recognition.feed(audio)
        for edge in self._vad.feed(mulaw.decode(audio)):
            self._handle_vad(edge)

    def listen(self, request: Listen) -> None:
        """Recognise the next utterance, or (unless ``fresh``) the one under way."""
        self.stop()
        self._request = request
        self._vad.silence_seconds = request.silence_seconds
        try:
            self._recognition = self._open_recognition(
                request, lambda heard: self._handle_transcript(request, heard), lambda error: self._fail(request, error)
            )
        except SpeechError as error:
            self._fail(request, error)
        if self._vad.is_speaking and not request.ignore_current_utterance:
            self._start_feeding()

    def set_silence(self, silence_seconds: float) -> bool:
        """Tell silences of so many seconds, or the usual ones if those are shorter; whether the caller speaks now."""
        self._vad.silence_seconds = min(silence_seconds, DEFAULT_SILENCE_SECONDS)
        return self._vad.is_speaking

    def stop(self) -> None:
        """Nothing more is wanted of the present recognition."""
        self._request, self._feeding, self._finishing = None, False, False
        if self._recognition:
            self._recognition.close()
            self._recognition = None

    @property
    def awaiting_final(self) -> bool:
        """True from the end of an utterance until its text has come."""
        return self._finishing

    def on_timeout(self) -> None:
        """The final text did not come in time: the recognition has failed."""
        if self._finishing and self._request:
            self._fail(self._request, SpeechError("the recogniser did not come to an end in time"))

    def _buffer_audio(self, audio: bytes) -> None:
        self._lookback.append(audio)
        self._lookback_bytes += len(audio)
        limit = LOOKBACK_BYTES if self._vad.is_speaking else PREROLL_BYTES
        while self._lookback_bytes > limit:
            self._lookback_bytes -= len(self._lookback.popleft())

    def _handle_vad(self, event: VadEvent) -> None:
        self._on_vad(event)
        if isinstance(event, SpeechStarted):
            self._start_feeding()
        elif self._recognition and self._feeding:
            self._feeding, self._finishing = False, True
            self._recognition.finish()

    def _start_feeding(self) -> None:
        """From here on the recogniser hears; what came just before, too."""
        if self._recognition and not self._feeding and not self._finishing:
            self._feeding = True
            self._recognition.feed(b"".join(self._lookback))

    def _handle_transcript(self, request: Listen, transcript: Transcript) -> None:
        if transcript.final:
            self.stop()
        self._on_transcript(request, transcript)

    def _fail(self, request: Listen, error: SpeechError) -> None:
        self.stop()
        self._on_error(request, error)
