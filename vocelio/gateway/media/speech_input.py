"""Listening, sans-IO but for its recogniser: the caller's sound, frame by frame, to edges of speech and texts.

Every frame goes through the voice activity detector. A recogniser is opened as soon as somebody listens, which gives it
the length of a prompt to connect; it is fed only speech, from ``PREROLL`` before its first voice, so that no first
syllable is cut. A listening that begins while the caller is already speaking hears the utterance from its start, as far
as it is remembered.
"""

from collections import deque
from collections.abc import Callable

from vocelio.codecs import mulaw
from vocelio.codecs.vad import DEFAULT_SILENCE, SpeechEnded, SpeechStarted, VoiceActivity
from vocelio.engine.actions import Listen
from vocelio.gateway.speech.interfaces import Heard, Recognition, SpeechError

PREROLL = 4_000  # bytes, 0.5 s: 0.3 s before the first voiced frame, and the frames that it took to notice
MEMORY = 24_000  # bytes, 3 s: how much of an utterance is kept that nobody listens for yet

Edge = SpeechStarted | SpeechEnded
Open = Callable[[Listen, Callable[[Heard], None], Callable[[SpeechError], None]], Recognition]


class Listening:
    """The ear of one call. ``edge``, ``heard`` and ``failed`` are told what happens, on the event loop.

    ``open_`` begins a recognition of what is listened for.
    """

    def __init__(
        self,
        open_: Open,
        edge: Callable[[Edge], None],
        heard: Callable[[Listen, Heard], None],
        failed: Callable[[Listen, SpeechError], None],
    ) -> None:
        self._open = open_
        self._edge, self._heard, self._failed = edge, heard, failed
        self._activity = VoiceActivity()
        self._recent: deque[bytes] = deque()
        self._held = 0
        self._wanted: Listen | None = None
        self._recognition: Recognition | None = None
        self._feeding = self._finishing = False

    def hear(self, sound: bytes) -> None:
        """The next sound of the caller: mu-law, usually 20 ms."""
        self._remember(sound)
        if self._recognition and self._feeding:
            self._recognition.feed(sound)
        for edge in self._activity.feed(mulaw.decode(sound)):
            self._turn(edge)

    def listen(self, wanted: Listen) -> None:
        """Recognise the next utterance, or (unless ``fresh``) the one under way."""
        self.stop()
        self._wanted = wanted
        self._activity.silence = wanted.silence
        try:
            self._recognition = self._open(
                wanted, lambda heard: self._recognised(wanted, heard), lambda error: self._fail(wanted, error)
            )
        except SpeechError as error:
            self._fail(wanted, error)
        if self._activity.speaking and not wanted.fresh:
            self._feed()

    def attend(self, silence: float) -> bool:
        """Tell silences of so many seconds, or the usual ones if those are shorter; whether the caller speaks now."""
        self._activity.silence = min(silence, DEFAULT_SILENCE)
        return self._activity.speaking

    def stop(self) -> None:
        """Nothing more is wanted of the present recognition."""
        self._wanted, self._feeding, self._finishing = None, False, False
        if self._recognition:
            self._recognition.close()
            self._recognition = None

    @property
    def waits_for_final(self) -> bool:
        """True from the end of an utterance until its text has come."""
        return self._finishing

    def give_up(self) -> None:
        """The final text did not come in time: the recognition has failed."""
        if self._finishing and self._wanted:
            self._fail(self._wanted, SpeechError("the recogniser did not come to an end in time"))

    def _remember(self, sound: bytes) -> None:
        self._recent.append(sound)
        self._held += len(sound)
        limit = MEMORY if self._activity.speaking else PREROLL
        while self._held > limit:
            self._held -= len(self._recent.popleft())

    def _turn(self, edge: Edge) -> None:
        self._edge(edge)
        if isinstance(edge, SpeechStarted):
            self._feed()
        elif self._recognition and self._feeding:
            self._feeding, self._finishing = False, True
            self._recognition.finish()

    def _feed(self) -> None:
        """From here on the recogniser hears; what came just before, too."""
        if self._recognition and not self._feeding and not self._finishing:
            self._feeding = True
            self._recognition.feed(b"".join(self._recent))

    def _recognised(self, wanted: Listen, heard: Heard) -> None:
        if heard.final:
            self.stop()
        self._heard(wanted, heard)

    def _fail(self, wanted: Listen, error: SpeechError) -> None:
        self.stop()
        self._failed(wanted, error)
