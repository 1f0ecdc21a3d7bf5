"""The caller's script: steps, and the audio of each step.

By default a step starts when the gateway has spoken and has then been silent for a while. With
``interrupt_after_seconds``, it starts that long after the gateway's speech started. ``max_wait_seconds`` bounds both.
All audio is rendered before the call is placed, so that synthesis does not compete with the call.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vocelio.codecs import mulaw, wav
from vocelio.codecs.resample import Resampler
from vocelio.engine.voice import Voice
from vocelio.gateway.simulator.caller import babble
from vocelio.gateway.simulator.media import voice_detection
from vocelio.gateway.simulator.media.messages import FRAME_SAMPLES, FRAME_SECONDS, SILENT_FRAME
from vocelio.gateway.speech.interfaces import Synthesizer

ENDPOINT_SILENCE_SECONDS = 0.7
"""Silence after which the gateway's turn counts as ended: longer than the pauses within its sentences."""

MAX_WAIT_SECONDS = 20.0
"""Wait after which a step starts regardless of the gateway."""

KEY_INTERVAL_FRAMES = 10
"""Frames between two keys: 0.2 s, fast but human."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepTiming:
    """When a step starts; base of all steps."""

    interrupt_after_seconds: float | None = None
    max_wait_seconds: float = MAX_WAIT_SECONDS


@dataclass(frozen=True, slots=True)
class Speak(StepTiming):
    """Say a text with the caller's synthesizer."""

    text: str


@dataclass(frozen=True, slots=True)
class PlayFile(StepTiming):
    """Play a WAV file (16-bit PCM, mono, any rate); ``text`` is its name in the report."""

    path: Path
    text: str = ""


@dataclass(frozen=True, slots=True)
class PlayAudio(StepTiming):
    """Play mu-law audio; ``text`` is its name in the report."""

    audio: bytes
    text: str = ""


@dataclass(frozen=True, slots=True)
class PressKeys(StepTiming):
    """Press keys, 0.2 s apart."""

    keys: str


@dataclass(frozen=True, slots=True)
class StaySilent(StepTiming):
    """Say nothing for ``seconds``."""

    seconds: float


@dataclass(frozen=True, slots=True)
class MakeNoise(StepTiming):
    """Make unintelligible speech; see ``babble``."""

    seconds: float = 1.5


@dataclass(frozen=True, slots=True)
class HangUp(StepTiming):
    """Hang up."""


Step = Speak | PlayFile | PlayAudio | PressKeys | StaySilent | MakeNoise | HangUp


@dataclass(frozen=True, slots=True)
class SimulatedCaller:
    """A caller: script, voice, and the silence after which it takes its turn.

    After the last step the caller stays silent until the call ends. Only ``Speak`` needs a ``synthesizer``.
    """

    steps: Sequence[Step] = ()
    synthesizer: Synthesizer | None = None
    voice: Voice = field(default_factory=Voice)
    endpoint_silence_seconds: float = ENDPOINT_SILENCE_SECONDS

    async def prerender(self, rng: random.Random) -> "tuple[RenderedStep, ...]":
        """Render all steps. Raises SpeechError, OSError and ValueError (no synthesizer, invalid file)."""
        return tuple([await self._render_step(step, rng) for step in self.steps])

    async def _render_step(self, step: Step, rng: random.Random) -> "RenderedStep":
        match step:
            case Speak(text=text):
                return _audio_step(step, text, await self._synthesize(text))
            case PlayFile(path=path, text=text):
                return _audio_step(step, text or path.name, _read_mulaw(path))
            case PlayAudio(audio=audio, text=text):
                return _audio_step(step, text, audio)
            case MakeNoise(seconds=seconds):
                return _audio_step(step, "", babble.unintelligible_speech(seconds, rng))
            case PressKeys(keys=keys):
                return _key_step(step, keys)
            case StaySilent(seconds=seconds):
                return RenderedStep(step, frame_count=round(seconds / FRAME_SECONDS))
            case HangUp():
                return RenderedStep(step)

    async def _synthesize(self, text: str) -> bytes:
        if self.synthesizer is None:
            raise ValueError(f"the caller has no synthesizer to say {text!r}")
        return b"".join([chunk async for chunk in self.synthesizer.speak(text, self.voice)])


@dataclass(frozen=True, slots=True)
class RenderedStep:
    """A rendered step: its frames, its keys by the frame in which they are pressed, and its audible part.

    ``voiced_start`` and ``voiced_end`` (exclusive) are samples from the start of the step.
    """

    source: Step
    text: str = ""
    frame_count: int = 0
    audio: bytes = b""
    keys: tuple[tuple[int, str], ...] = ()
    voiced_start: int = 0
    voiced_end: int = 0

    def audio_frame(self, index: int) -> bytes:
        """Return the ``index``-th frame (20 ms of mu-law)."""
        audio = self.audio[index * FRAME_SAMPLES : (index + 1) * FRAME_SAMPLES]
        return audio if len(audio) == FRAME_SAMPLES else audio + SILENT_FRAME[len(audio) :]

    def key_at(self, index: int) -> str:
        """Return the key pressed in the ``index``-th frame, or an empty string."""
        return next((key for at, key in self.keys if at == index), "")


def _audio_step(step: Step, text: str, audio: bytes) -> RenderedStep:
    """Only the voiced part counts as the turn: files and synthesizers add silence at both ends."""
    first, last = voice_detection.voiced_span(audio)
    return RenderedStep(step, text, -(-len(audio) // FRAME_SAMPLES), audio, voiced_start=first, voiced_end=last)


def _key_step(step: PressKeys, keys: str) -> RenderedStep:
    if not keys or set(keys) - set("0123456789*#ABCD"):
        raise ValueError(f"{keys!r} are not telephone keys")
    pressed = tuple((index * KEY_INTERVAL_FRAMES, key) for index, key in enumerate(keys))
    frames = pressed[-1][0] + 1
    # A key is sent at the end of its frame, as audio is.
    return RenderedStep(step, keys, frames, keys=pressed, voiced_start=FRAME_SAMPLES, voiced_end=frames * FRAME_SAMPLES)


def _read_mulaw(path: Path) -> bytes:
    pcm, rate = wav.read(path)
    if rate != mulaw.SAMPLE_RATE:
        pcm = Resampler(rate, mulaw.SAMPLE_RATE).process(pcm, last=True)
    return mulaw.encode(pcm)
