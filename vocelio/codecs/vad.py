"""Voice activity detection: start and end of speech, in audio time.

WebRTC's detector classifies each 20 ms frame as voiced or not; this module derives events from that. A start needs
several voiced frames of similar level, so that a click, which the detector stretches to four voiced frames, is not
speech. An end needs ``silence_seconds`` without voice. The detector's hangover, the frames that it calls voiced after
the last voiced one, does not count as speech.

It runs on every frame of every call: without a change of state it costs a few bytecodes besides the detector's 0.9 us.
"""

from dataclasses import dataclass

import webrtcvad

from vocelio.codecs._audioop import audioop

SAMPLE_RATE = 8000

FRAME_SECONDS = 0.02
"""Twilio's frame, and a frame size that the detector supports."""

FRAME_BYTES = 320
"""Bytes of PCM in a frame."""

AGGRESSIVENESS_MODE = 2
"""How strictly the detector rejects non-speech, 0 to 3: mode 3 misses weak syllables, mode 1 takes noise for voice."""

MIN_START_FRAMES = 3
"""Voiced frames required for a start: fewer would detect breath and line noise, more would delay a barge-in."""

START_WINDOW_FRAMES = 4
"""Frames in which these must occur: 80 ms, so that one weak frame in a first syllable is tolerated."""

MIN_START_LEVEL_RATIO = 0.25
"""The minimum level of a counted frame relative to the loudest recent one: the frames after a click are far below."""

LEVEL_WINDOW_FRAMES = 8
"""Frames searched for the loudest one: more than the six voiced frames that a click across two frames can cause."""

NOISE_LEARNING_FRAMES = 4
"""Voiced frames at the start of a stream that may be line noise: the detector takes the first frame that is not digital
silence for voice, learns the noise level from it, and needs its hangover to correct that."""

MIN_LEARNING_RMS = 500
"""The level (RMS of 16-bit samples, -36 dBFS) from which such a frame counts nevertheless: speech at about -20 dBFS is
detected immediately, line noise at -70 to -45 dBFS is not."""

HANGOVER_FRAMES = 3
"""Minimum hangover of the detector in modes 2 and 3 (5 frames after long speech): WebRTC's ``kOverHangMax1`` and
``kOverHangMax2`` for 20 ms."""

DEFAULT_SILENCE_SECONDS = 0.6
"""Seconds of silence that end an utterance: longer than most pauses between words."""


@dataclass(frozen=True, slots=True)
class SpeechStarted:
    """Speech started at ``started_at`` and was detected at ``detected_at``, both in seconds of audio."""

    detected_at: float
    started_at: float


@dataclass(frozen=True, slots=True)
class SpeechEnded:
    """Speech ended at ``ended_at``; the silence was long enough at ``detected_at``, both in seconds of audio."""

    detected_at: float
    ended_at: float


VadEvent = SpeechStarted | SpeechEnded

_NO_EVENTS: tuple[VadEvent, ...] = ()


class VoiceActivityDetector:
    """Detects start and end of speech in a stream of 8 kHz PCM chunks of any size."""

    def __init__(self, silence_seconds: float = DEFAULT_SILENCE_SECONDS) -> None:
        self._is_voiced = webrtcvad.Vad(AGGRESSIVENESS_MODE).is_speech
        self._frame_count = 0  # complete frames so far
        self._partial_frame = b""  # the bytes of an incomplete frame
        self._is_speaking = False
        self._last_voiced_frame = 0  # while speaking
        self._learning_frames_left = NOISE_LEARNING_FRAMES
        self._recent_voiced_frames: list[tuple[int, int]] = []  # while silent: (frame, level)
        self.silence_seconds = silence_seconds

    @property
    def silence_seconds(self) -> float:
        """Seconds of silence that end an utterance, rounded to frames; can be changed at any time."""
        return self._max_silent_frames * FRAME_SECONDS

    @silence_seconds.setter
    def silence_seconds(self, seconds: float) -> None:
        if not seconds > 0:
            raise ValueError("the silence that ends an utterance must be longer than 0 s")
        self._max_silent_frames = max(1, round(seconds / FRAME_SECONDS))

    @property
    def is_speaking(self) -> bool:
        """True between a start and the following end."""
        return self._is_speaking

    @property
    def processed_seconds(self) -> float:
        """Seconds of audio processed, in complete frames."""
        return self._frame_count * FRAME_SECONDS

    def feed(self, pcm: bytes) -> tuple[VadEvent, ...]:
        """Process a chunk and return its events, oldest first: almost always none."""
        if len(pcm) == FRAME_BYTES and not self._partial_frame:
            return self._feed_frame(pcm)
        return self._feed_chunk(pcm)

    def _feed_chunk(self, pcm: bytes) -> tuple[VadEvent, ...]:
        pcm = self._partial_frame + pcm
        whole = len(pcm) - len(pcm) % FRAME_BYTES
        self._partial_frame = pcm[whole:]
        events = _NO_EVENTS
        for start in range(0, whole, FRAME_BYTES):
            events += self._feed_frame(pcm[start : start + FRAME_BYTES])
        return events

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
        window_start = now - LEVEL_WINDOW_FRAMES
        recent = [(frame, rms) for frame, rms in self._recent_voiced_frames if frame > window_start]
        recent.append((now, level))
        self._recent_voiced_frames = recent
        min_level = MIN_START_LEVEL_RATIO * max(rms for _, rms in recent)
        counted = [frame for frame, rms in recent if rms >= min_level and frame > now - START_WINDOW_FRAMES]
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
