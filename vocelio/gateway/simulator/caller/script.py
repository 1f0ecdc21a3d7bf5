"""The caller: a script of steps, and the sound each of them makes.

By default a step begins when the gateway has spoken and then been quiet for a while, as a polite caller does.
``interrupt`` makes it begin that many seconds after the gateway's speech began. ``longest_wait`` bounds either.
Everything is rendered before the call is placed, so that nothing is synthesized while someone listens.
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
"""Silence after which a caller takes the gateway to have ended: longer than the pauses within its sentences."""

MAX_WAIT_SECONDS = 20.0
"""Seconds after which a step begins whatever the gateway does."""

KEY_INTERVAL_FRAMES = 10
"""Frames from one key to the next: 0.2 s, a quick but human finger."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepTiming:
    """When a step begins; what all steps have in common."""

    interrupt_after_seconds: float | None = None
    max_wait_seconds: float = MAX_WAIT_SECONDS


@dataclass(frozen=True, slots=True)
class Speak(StepTiming):
    """Say a text, by the caller's synthesizer."""

    text: str


@dataclass(frozen=True, slots=True)
class PlayFile(StepTiming):
    """Say what is in a WAV file (16-bit PCM, mono, any rate); ``text`` is what the report calls it."""

    path: Path
    text: str = ""


@dataclass(frozen=True, slots=True)
class PlayAudio(StepTiming):
    """Say ready-made mu-law; ``text`` is what the report calls it."""

    audio: bytes
    text: str = ""


@dataclass(frozen=True, slots=True)
class PressKeys(StepTiming):
    """Press keys, 0.2 s apart."""

    keys: str


@dataclass(frozen=True, slots=True)
class StaySilent(StepTiming):
    """Say nothing for ``seconds``, whatever is asked."""

    seconds: float


@dataclass(frozen=True, slots=True)
class MakeNoise(StepTiming):
    """Something with the melody of speech that nobody can understand."""

    seconds: float = 1.5


@dataclass(frozen=True, slots=True)
class HangUp(StepTiming):
    """Put the phone down."""


Step = Speak | PlayFile | PlayAudio | PressKeys | StaySilent | MakeNoise | HangUp


@dataclass(frozen=True, slots=True)
class SimulatedCaller:
    """Who calls: the script, the voice it is spoken in, and how long a silence makes them take their turn.

    After the last step the caller stays on the line, silent, until the call ends. ``synthesizer`` is needed for
    ``Speak`` only.
    """

    steps: Sequence[Step] = ()
    synthesizer: Synthesizer | None = None
    voice: Voice = field(default_factory=Voice)
    endpoint_silence_seconds: float = ENDPOINT_SILENCE_SECONDS

    async def prerender(self, rng: random.Random) -> "tuple[RenderedStep, ...]":
        """The steps as sound. Raises SpeechError, OSError and ValueError (a text without a synthesizer, a bad file)."""
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
            raise ValueError(f"the caller has no voice to say {text!r} with")
        return b"".join([chunk async for chunk in self.synthesizer.speak(text, self.voice)])


@dataclass(frozen=True, slots=True)
class RenderedStep:
    """A step ready to be performed: its frames, the keys by the frame they are pressed in, and its audible part.

    ``first`` and ``last`` are the samples, from the cue's begin, at which the audible part begins and has ended.
    """

    source: Step
    text: str = ""
    frame_count: int = 0
    audio: bytes = b""
    keys: tuple[tuple[int, str], ...] = ()
    voiced_start: int = 0
    voiced_end: int = 0

    def audio_frame(self, index: int) -> bytes:
        """The ``index``-th 20 ms of mu-law."""
        audio = self.audio[index * FRAME_SAMPLES : (index + 1) * FRAME_SAMPLES]
        return audio if len(audio) == FRAME_SAMPLES else audio + SILENT_FRAME[len(audio) :]

    def key_at(self, index: int) -> str:
        """The key pressed in the ``index``-th frame, or nothing."""
        return next((key for at, key in self.keys if at == index), "")


def _audio_step(step: Step, text: str, audio: bytes) -> RenderedStep:
    """Of speech only the voiced part counts: the silence that files and synthesizers add is nobody's turn."""
    first, last = voice_detection.voiced_span(audio)
    return RenderedStep(step, text, -(-len(audio) // FRAME_SAMPLES), audio, voiced_start=first, voiced_end=last)


def _key_step(step: PressKeys, keys: str) -> RenderedStep:
    if not keys or set(keys) - set("0123456789*#ABCD"):
        raise ValueError(f"{keys!r} are not keys of a telephone")
    pressed = tuple((index * KEY_INTERVAL_FRAMES, key) for index, key in enumerate(keys))
    frames = pressed[-1][0] + 1
    # A key is sent when its frame has ended, as the sound of a frame is.
    return RenderedStep(step, keys, frames, keys=pressed, voiced_start=FRAME_SAMPLES, voiced_end=frames * FRAME_SAMPLES)


def _read_mulaw(path: Path) -> bytes:
    pcm, rate = wav.read(path)
    if rate != mulaw.SAMPLE_RATE:
        pcm = Resampler(rate, mulaw.SAMPLE_RATE).process(pcm, last=True)
    return mulaw.encode(pcm)
