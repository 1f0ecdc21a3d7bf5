"""Speech input of one call, sans-IO except for the recognizer: voice activity detection, endpointing, recognition.

Every frame of the caller passes the voice activity detector. A recognition is opened as soon as the flow listens,
which gives the provider the length of a prompt to connect. It receives speech only, from PREROLL_BYTES before the first
voiced frame, so that the first syllable is not cut. A recognition that starts while the caller is speaking receives the
utterance from its start, as far as it is buffered.
"""

from collections import deque
from collections.abc import Callable

from vocelio.codecs import mulaw
from vocelio.codecs.vad import DEFAULT_SILENCE_SECONDS, SpeechStarted, VadEvent, VoiceActivityDetector
from vocelio.engine.actions import Listen
from vocelio.gateway.speech.interfaces import Recognition, SpeechError, Transcript

PREROLL_BYTES = 4_000  # bytes, 0.5 s: 0.3 s before the first voiced frame, and the frames of its detection
LOOKBACK_BYTES = 24_000  # bytes, 3 s of an utterance in progress, for a recognition that starts later

RecognitionOpener = Callable[[Listen, Callable[[Transcript], None], Callable[[SpeechError], None]], Recognition]


class SpeechInput:
    """Speech input of one call; the callbacks run on the event loop.

    Args:
        open_recognition: Opens a recognition for an action of the engine.
        on_vad: Called when the caller starts or stops speaking.
        on_transcript: Called with each partial and final transcript.
        on_error: Called when a recognition has failed.
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
        """Process a frame of the caller: mu-law, usually 20 ms."""
        self._buffer_audio(audio)
        if self._recognition and self._feeding:
            self._recognition.feed(audio)
        for event in self._vad.feed(mulaw.decode(audio)):
            self._handle_vad(event)

    def listen(self, request: Listen) -> None:
        """Recognize the utterance in progress, unless the request ignores it, or else the next one."""
        self.stop()
        self._request = request
        self._vad.silence_seconds = request.silence_seconds
        try:
            self._recognition = self._open_recognition(
                request,
                lambda transcript: self._handle_transcript(request, transcript),
                lambda error: self._fail(request, error),
            )
        except SpeechError as error:
            self._fail(request, error)
        if self._vad.is_speaking and not request.ignore_current_utterance:
            self._start_feeding()

    def set_silence(self, silence_seconds: float) -> bool:
        """Detect a silence of this length, or the default if that is shorter; return whether the caller is speaking."""
        self._vad.silence_seconds = min(silence_seconds, DEFAULT_SILENCE_SECONDS)
        return self._vad.is_speaking

    def stop(self) -> None:
        """Discard the present recognition."""
        self._request, self._feeding, self._finishing = None, False, False
        if self._recognition:
            self._recognition.close()
            self._recognition = None

    @property
    def awaiting_final(self) -> bool:
        """Whether an utterance has ended and its final transcript is outstanding."""
        return self._finishing

    def on_timeout(self) -> None:
        """Fail the recognition because its final transcript is late."""
        if self._finishing and self._request:
            self._fail(self._request, SpeechError("the recognizer did not return a final transcript in time"))

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
        """Feed the recognition from now on, starting with the buffered audio."""
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
