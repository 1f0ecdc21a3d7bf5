"""Voice activity: when speech starts and when it has ended, frame by frame, in the time of the audio itself.

WebRTC's detector says of each 20 ms whether it holds voice; this file makes edges of that. A start needs
several frames that are voiced and about equally loud, so that a click, which the detector stretches to four
voiced frames, starts nothing. An end needs ``silence`` seconds without voice. The detector goes on saying
"voice" for some frames after the last one; those are not counted as speech.

It runs on every frame of every call: the steady states (still silent, still speaking) cost a few bytecodes
around the detector's own 0.9 us.
"""

from dataclasses import dataclass

import webrtcvad

from vocelio.codecs._audioop import audioop

SAMPLE_RATE = 8000

FRAME_SECONDS = 0.02
"""Twilio's frame, and one that the detector takes."""

FRAME_BYTES = 320
"""Bytes of PCM in a frame."""

MODE = 2
"""How strictly the detector rejects non-speech, 0 to 3: 3 loses weak syllables, 1 takes noise for voice."""

START_FRAMES = 3
"""Voiced frames that make a start: fewer would let breath and line noise in; more would delay a barge-in."""

START_WINDOW = 4
"""Frames in which they must come: 80 ms, so that one weak frame in a first syllable does no harm."""

START_EVENNESS = 0.25
"""The level a frame must have, against the loudest lately, to count: what follows a click is far below it."""

LOUDEST_WINDOW = 8
"""Frames in which the loudest is sought: more than the six voiced ones that a click across two can give."""

LEARNING_FRAMES = 4
"""Voiced frames, the first of a stream, that may be mere line noise: the detector calls the first frame that
is not digital silence voice, learns from it what noise is like, and needs its hangover to take that back."""

LEARNING_LEVEL = 500
"""The level (RMS of 16-bit samples, -36 dBFS) from which a frame counts even then: speech, about -20 dBFS, is
heard at once; line noise, -70 to -45 dBFS, is not."""

HANGOVER_FRAMES = 3
"""Frames that the detector in modes 2 and 3 goes on calling voice, at the least (5 after long speech):
WebRTC's ``kOverHangMax1`` and ``kOverHangMax2`` for 20 ms."""

DEFAULT_SILENCE = 0.6
"""Seconds of silence that end an utterance: longer than most pauses between words."""


@dataclass(frozen=True, slots=True)
class SpeechStarted:
    """Speech began ``began`` seconds into the audio, and was recognised as speech ``at`` seconds."""

    at: float
    began: float


@dataclass(frozen=True, slots=True)
class SpeechEnded:
    """The last voice was ``ended`` seconds into the audio; ``at`` is when the silence was long enough."""

    at: float
    ended: float


Edge = SpeechStarted | SpeechEnded

_NOTHING: tuple[Edge, ...] = ()


class VoiceActivity:
    """Fed a stream of 8 kHz PCM in any pieces; tells the edges of speech in it."""

    def __init__(self, silence: float = DEFAULT_SILENCE) -> None:
        self._is_voiced = webrtcvad.Vad(MODE).is_speech
        self._frame = 0  # whole frames so far
        self._rest = b""  # the start of a frame whose end has not come
        self._speaking = False
        self._last_voiced = 0  # while speaking: the last frame called voiced
        self._learning = LEARNING_FRAMES
        self._recent: list[tuple[int, int]] = []  # while silent: (frame, level) of the last voiced ones
        self.silence = silence

    @property
    def silence(self) -> float:
        """Seconds of silence that end an utterance, in steps of a frame; may be set at any time."""
        return self._silence_frames * FRAME_SECONDS

    @silence.setter
    def silence(self, seconds: float) -> None:
        if not seconds > 0:
            raise ValueError("the silence that ends an utterance must be longer than nothing")
        self._silence_frames = max(1, round(seconds / FRAME_SECONDS))

    @property
    def speaking(self) -> bool:
        """Whether the last edge was a start."""
        return self._speaking

    @property
    def seconds(self) -> float:
        """How much audio has been fed, in whole frames."""
        return self._frame * FRAME_SECONDS

    def feed(self, pcm: bytes) -> tuple[Edge, ...]:
        """The edges in the next audio, oldest first: nearly always none."""
        if len(pcm) == FRAME_BYTES and not self._rest:
            return self._feed_frame(pcm)
        return self._feed_pieces(pcm)

    def _feed_pieces(self, pcm: bytes) -> tuple[Edge, ...]:
        pcm = self._rest + pcm
        whole = len(pcm) - len(pcm) % FRAME_BYTES
        self._rest = pcm[whole:]
        edges = _NOTHING
        for start in range(0, whole, FRAME_BYTES):
            edges += self._feed_frame(pcm[start : start + FRAME_BYTES])
        return edges

    def _feed_frame(self, frame: bytes) -> tuple[Edge, ...]:
        self._frame = now = self._frame + 1
        voiced = self._is_voiced(frame, SAMPLE_RATE)
        if self._speaking:
            if voiced:
                self._last_voiced = now
                return _NOTHING
            if now - self._last_voiced + HANGOVER_FRAMES < self._silence_frames:
                return _NOTHING
            return self._end()
        if voiced:
            return self._candidate(audioop.rms(frame, 2))
        return _NOTHING

    def _candidate(self, level: int) -> tuple[Edge, ...]:
        if self._learning:
            self._learning -= 1
            if level < LEARNING_LEVEL:
                return _NOTHING
        now = self._frame
        recent = [(frame, its) for frame, its in self._recent if frame > now - LOUDEST_WINDOW]
        recent.append((now, level))
        self._recent = recent
        floor = START_EVENNESS * max(its for _, its in recent)
        counted = [frame for frame, its in recent if its >= floor and frame > now - START_WINDOW]
        if len(counted) < START_FRAMES:
            return _NOTHING
        return self._start(min(frame for frame, _ in recent))

    def _start(self, first: int) -> tuple[Edge, ...]:
        self._recent = []
        self._speaking = True
        self._last_voiced = self._frame
        return (SpeechStarted(at=self._frame * FRAME_SECONDS, began=(first - 1) * FRAME_SECONDS),)

    def _end(self) -> tuple[Edge, ...]:
        self._speaking = False
        ended = max(0, self._last_voiced - HANGOVER_FRAMES)
        return (SpeechEnded(at=self._frame * FRAME_SECONDS, ended=ended * FRAME_SECONDS),)
