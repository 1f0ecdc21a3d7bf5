"""The recording of a whole call: both sides of one stream, and what must not be in it.

What the caller says in confidence is silence in it, from the question on until that has been answered and the caller
has fallen silent; so is a prompt that says it again.

A recording of a call as those who watch the call are told of it: it starts, it may lose a part, it ends.
"""

import asyncio
from collections.abc import Callable
from typing import Literal, Protocol

from vocelio.codecs.mulaw import SILENCE_BYTE
from vocelio.codecs.vad import SpeechStarted
from vocelio.gateway.media.playout import SendAudio, SendClear, SendCommand
from vocelio.gateway.media.speech_input import VadEvent
from vocelio.gateway.media.stereo_mixer import StereoMixer
from vocelio.gateway.recordings.service import RecordingService
from vocelio.gateway.recordings.stored_audio import CHUNK_SAMPLES
from vocelio.gateway.recordings.writer import RecordingWriter
from vocelio.gateway.store.recordings import RecordingKind

MASK_LINGER_SECONDS = 0.5
"""Seconds after an answer in confidence that are hidden, too: of a key the sound may come behind the message."""

_SILENCE_BYTE = bytes([SILENCE_BYTE])


class RecordingSinkFactory(Protocol):
    """Makes what the sound goes to."""

    def start(self, kind: Literal["call"]) -> "RecordingSink":
        """There is sound."""
        ...


class RecordingSink(Protocol):
    """Takes both sides' sound, a byte of each in turn."""

    def write(self, audio: bytes) -> None:
        """The next piece."""

    def close(self) -> None:
        """There is no more."""


class CallRecording:
    """It runs from when the stream ``began`` to its end. ``secret`` knows whether a prompt is to be silent in it.

    What came before the call was admitted is fed at once, late, and lies where it belongs. Sound is given in pieces of
    ``piece`` samples of each side.
    """

    def __init__(
        self,
        factory: RecordingSinkFactory,
        is_sensitive: Callable[[str], bool],
        started_at: float,
        chunk_samples: int = CHUNK_SAMPLES,
    ) -> None:
        self._factory, self._is_sensitive, self._chunk_samples = factory, is_sensitive, chunk_samples
        self._now = asyncio.get_running_loop().time
        self._mixer = StereoMixer(started_at)
        self._sink: RecordingSink | None = None  # from the first piece on: what is shorter is no call
        self._caller_speaking = self._confidential = self._masking = False
        self._masked_until = 0.0

    def on_audio(self, audio: bytes) -> None:
        """The caller's next sound."""
        now = self._now()
        if self._masking:
            audio = self._mask(audio, now)
        self._mixer.add_caller(audio, now)
        if self._mixer.available_samples >= self._chunk_samples:
            self._write(self._mixer.take())

    def on_sent(self, item: SendCommand) -> None:
        """What the gateway sends."""
        if isinstance(item, SendAudio):
            sound = _SILENCE_BYTE * len(item.mulaw) if self._is_sensitive(item.prompt) else item.mulaw
            self._mixer.add_gateway(sound, item.starts_at)
        elif isinstance(item, SendClear):
            self._mixer.clear_gateway(self._now())

    def on_echo(self, audio: bytes) -> None:
        """The caller's own sound goes back, and is heard at once."""
        self._mixer.add_gateway(_SILENCE_BYTE * len(audio) if self._masking else audio, self._now())

    def start_mid_call(self, *, speaking: bool, confidential: bool) -> None:
        """It begins in the middle of a call: what was said in confidence just now may not be over."""
        self._caller_speaking = speaking
        self.set_confidential(confidential=True)
        self.set_confidential(confidential)

    def on_vad(self, event: VadEvent) -> None:
        """The caller begins to speak, or has fallen silent."""
        self._caller_speaking = isinstance(event, SpeechStarted)

    def set_confidential(self, confidential: bool) -> None:
        """Whether what the caller says is confidential from now on."""
        if confidential and not self._masking:
            self._mixer.mask()
        if self._confidential and not confidential:
            self._masked_until = self._now() + MASK_LINGER_SECONDS
        self._confidential = confidential
        self._masking = self._masking or confidential

    def close(self) -> None:
        """The stream ends."""
        if self._sink:
            self._sink.write(self._mixer.take(self._now()))
            self._sink.close()

    def _mask(self, audio: bytes, now: float) -> bytes:
        self._masking = self._confidential or self._caller_speaking or now < self._masked_until
        return _SILENCE_BYTE * len(audio) if self._masking else audio

    def _write(self, audio: bytes) -> None:
        if self._sink is None:
            self._sink = self._factory.start("call")
        self._sink.write(audio)


class PublishEvent(Protocol):
    """How a call tells those who watch."""

    def __call__(self, event_type: str, **data: object) -> None:
        """An event of the call."""


class RecordingFactory:
    """Makes the recordings of one call."""

    def __init__(self, recordings: RecordingService, tenant: str, call: str, publish: PublishEvent) -> None:
        self._recordings, self._tenant, self._call, self._publish = recordings, tenant, call, publish

    def start(self, kind: RecordingKind) -> "RecordingHandle":
        """A recording begins."""
        tape = self._recordings.start_recording(
            self._tenant, self._call, kind, lambda problem: self._on_failed(tape, problem)
        )
        self._publish("recording.started", recording=tape.recording.id, kind=kind)
        return RecordingHandle(tape, self._recordings.audio_url(tape.recording.id), self._publish)

    def _on_failed(self, writer: RecordingWriter, error: str) -> None:
        self._publish("recording.failed", recording=writer.recording.id, kind=writer.recording.kind, error=error)


class RecordingHandle:
    """One of them, under way; ``url`` is where it can be heard."""

    def __init__(self, writer: RecordingWriter, url: str, publish: PublishEvent) -> None:
        self.url = url
        self.write = writer.add
        self._writer, self._publish = writer, publish

    def close(self) -> None:
        """There is no more of it."""
        self._writer.close()
        kept = self._writer.recording
        self._publish(
            "recording.ended", recording=kept.id, kind=kept.kind, duration_seconds=self._writer.duration_seconds
        )
