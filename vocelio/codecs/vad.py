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

AGGRESSIVENESS_MODE = 2
"""How strictly the detector rejects non-speech, 0 to 3: 3 loses weak syllables, 1 takes noise for voice."""

MIN_START_FRAMES = 3
"""Voiced frames that make a start: fewer would let breath and line noise in; more would delay a barge-in."""

START_WINDOW_FRAMES = 4
"""Frames in which they must come: 80 ms, so that one weak frame in a first syllable does no harm."""

MIN_START_LEVEL_RATIO = 0.25
"""The level a frame must have, against the loudest lately, to count: what follows a click is far below it."""

LEVEL_WINDOW_FRAMES = 8
"""Frames in which the loudest is sought: more than the six voiced ones that a click across two can give."""

NOISE_LEARNING_FRAMES = 4
"""Voiced frames, the first of a stream, that may be mere line noise: the detector calls the first frame that
is not digital silence voice, learns from it what noise is like, and needs its hangover to take that back."""

MIN_LEARNING_RMS = 500
"""The level (RMS of 16-bit samples, -36 dBFS) from which a frame counts even then: speech, about -20 dBFS, is
heard at once; line noise, -70 to -45 dBFS, is not."""

HANGOVER_FRAMES = 3
"""Frames that the detector in modes 2 and 3 goes on calling voice, at the least (5 after long speech):
WebRTC's ``kOverHangMax1`` and ``kOverHangMax2`` for 20 ms."""

DEFAULT_SILENCE_SECONDS = 0.6
"""Seconds of silence that end an utterance: longer than most pauses between words."""


@dataclass(frozen=True, slots=True)
class SpeechStarted:
    """Speech began ``began`` seconds into the audio, and was recognised as speech ``at`` seconds."""

    detected_at: float
    started_at: float


@dataclass(frozen=True, slots=True)
class SpeechEnded:
    """The last voice was ``ended`` seconds into the audio; ``at`` is when the silence was long enough."""

    detected_at: float
    ended_at: float


VadEvent = SpeechStarted | SpeechEnded

_NO_EVENTS: tuple[VadEvent, ...] = ()


class VoiceActivityDetector:
    """Fed a stream of 8 kHz PCM in any pieces; tells the edges of speech in it."""

    def __init__(self, silence_seconds: float = DEFAULT_SILENCE_SECONDS) -> None:
        self._is_voiced = webrtcvad.Vad(AGGRESSIVENESS_MODE).is_speech
        self._frame_count = 0  # whole frames so far
        self._partial_frame = b""  # the start of a frame whose end has not come
        self._is_speaking = False
        self._last_voiced_frame = 0  # while speaking: the last frame called voiced
        self._learning_frames_left = NOISE_LEARNING_FRAMES
        self._recent_voiced_frames: list[tuple[int, int]] = []  # while silent: (frame, level) of the last voiced ones
        self.silence_seconds = silence_seconds

    @property
    def silence_seconds(self) -> float:
        """Seconds of silence that end an utterance, in steps of a frame; may be set at any time."""
        return self._max_silent_frames * FRAME_SECONDS

    @silence_seconds.setter
    def silence_seconds(self, seconds: float) -> None:
        if not seconds > 0:
            raise ValueError("the silence that ends an utterance must be longer than nothing")
        self._max_silent_frames = max(1, round(seconds / FRAME_SECONDS))

    @property
    def is_speaking(self) -> bool:
        """Whether the last edge was a start."""
        return self._is_speaking

    @property
    def processed_seconds(self) -> float:
        """How much audio has been fed, in whole frames."""
        return self._frame_count * FRAME_SECONDS

    def feed(self, pcm: bytes) -> tuple[VadEvent, ...]:
        """The edges in the next audio, oldest first: nearly always none."""
        if len(pcm) == FRAME_BYTES and not self._partial_frame:
            return self._feed_frame(pcm)
        return self._feed_chunk(pcm)

    def _feed_chunk(self, pcm: bytes) -> tuple[VadEvent, ...]:
        pcm = self._partial_frame + pcm
        whole = len(pcm) - len(pcm) % FRAME_BYTES
        self._partial_frame = pcm[whole:]
        edges = _NO_EVENTS
        for start in range(0, whole, FRAME_BYTES):
            edges += self._feed_frame(pcm[start : start + FRAME_BYTES])
        return edges

    def _feed_frame(self, frame: bytes) -> tuple[VadEvent, ...]:
        self._frame_count = now = self._frame_count + 1
        voiced = self._is_voiced(frame, SAMPLE_RATE)
        if self._is_speaking:
            if voiced:
                self._last_voiced_frame = now
                return _NO_EVENTS
            if now - self._last_voiced_frame + HANGOVER_FRAMES < self._max_silent_frames:
                return _NO_EVENTS
            return self._end_speech()
        if voiced:
            return self._check_start(audioop.rms(frame, 2))
        return _NO_EVENTS

    def _check_start(self, level: int) -> tuple[VadEvent, ...]:
        if self._learning_frames_left:
            self._learning_frames_left -= 1
            if level < MIN_LEARNING_RMS:
                return _NO_EVENTS
        now = self._frame_count
        recent = [(frame, its) for frame, its in self._recent_voiced_frames if frame > now - LEVEL_WINDOW_FRAMES]
        recent.append((now, level))
        self._recent_voiced_frames = recent
        floor = MIN_START_LEVEL_RATIO * max(its for _, its in recent)
        counted = [frame for frame, its in recent if its >= floor and frame > now - START_WINDOW_FRAMES]
        if len(counted) < MIN_START_FRAMES:
            return _NO_EVENTS
        return self._start_speech(min(frame for frame, _ in recent))

    def _start_speech(self, first_frame: int) -> tuple[VadEvent, ...]:
        self._recent_voiced_frames = []
        self._is_speaking = True
        self._last_voiced_frame = self._frame_count
        return (
            SpeechStarted(detected_at=self._frame_count * FRAME_SECONDS, started_at=(first_frame - 1) * FRAME_SECONDS),
        )

    def _end_speech(self) -> tuple[VadEvent, ...]:
        self._is_speaking = False
        ended = max(0, self._last_voiced_frame - HANGOVER_FRAMES)
        return (SpeechEnded(detected_at=self._frame_count * FRAME_SECONDS, ended_at=ended * FRAME_SECONDS),)
