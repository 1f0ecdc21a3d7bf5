"""Stereo recording of one stream, with confidential parts masked, and the events that a recording publishes.

Confidential input is silence in it, from the question until the answer and the end of the caller's speech; so is a
prompt that repeats it.
"""

import asyncio
from collections.abc import Callable
from typing import Literal, Protocol

from vocelio.codecs.mulaw import SILENCE_BYTE
from vocelio.codecs.vad import SpeechStarted, VadEvent
from vocelio.gateway.media.playout import SendAudio, SendClear, SendCommand
from vocelio.gateway.media.stereo_mixer import StereoMixer
from vocelio.gateway.recordings.service import RecordingService
from vocelio.gateway.recordings.stored_audio import CHUNK_SAMPLES
from vocelio.gateway.recordings.writer import RecordingWriter
from vocelio.gateway.store.recordings import RecordingKind

MASK_LINGER_SECONDS = 0.5
"""Seconds after a confidential answer that are masked, too: the sound of a key may follow its message."""

_SILENCE_BYTE = bytes([SILENCE_BYTE])


class RecordingSinkFactory(Protocol):
    """Makes the sink of a recording."""

    def start(self, kind: Literal["call"]) -> "RecordingSink":
        """Start a recording."""
        ...


class RecordingSink(Protocol):
    """Takes both sides' audio, interleaved by byte."""

    def write(self, audio: bytes) -> None:
        """Take the next chunk."""

    def close(self) -> None:
        """End the recording."""


class CallRecording:
    """Records one stream from ``started_at`` (loop time) to its end. ``is_sensitive`` tells which prompts are masked.

    Audio from before the call was admitted comes late, all at once, and is put where it belongs. The sink gets chunks
    of ``chunk_samples`` of each side.
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
        self._sink: RecordingSink | None = None  # from the first chunk on: a shorter call has no recording
        self._caller_speaking = self._confidential = self._masking = False
        self._masked_until = 0.0

    def on_audio(self, audio: bytes) -> None:
        """Record the caller's next audio."""
        now = self._now()
        if self._masking:
            audio = self._mask(audio, now)
        self._mixer.add_caller(audio, now)
        if self._mixer.available_samples >= self._chunk_samples:
            self._write(self._mixer.take())

    def on_sent(self, item: SendCommand) -> None:
        """Record what the gateway sends."""
        if isinstance(item, SendAudio):
            sound = _SILENCE_BYTE * len(item.mulaw) if self._is_sensitive(item.prompt) else item.mulaw
            self._mixer.add_gateway(sound, item.starts_at)
        elif isinstance(item, SendClear):
            self._mixer.clear_gateway(self._now())

    def on_echo(self, audio: bytes) -> None:
        """Record the caller's audio that is echoed, and heard at once."""
        self._mixer.add_gateway(_SILENCE_BYTE * len(audio) if self._masking else audio, self._now())

    def start_mid_call(self, *, speaking: bool, confidential: bool) -> None:
        """Start in the middle of a call, masked: confidential input may not be over."""
        self._caller_speaking = speaking
        self.set_confidential(confidential=True)
        self.set_confidential(confidential)

    def on_vad(self, event: VadEvent) -> None:
        """Note that the caller started or stopped speaking."""
        self._caller_speaking = isinstance(event, SpeechStarted)

    def set_confidential(self, confidential: bool) -> None:
        """Mask the caller from now on, or stop masking once the caller is silent."""
        if confidential and not self._masking:
            self._mixer.mask()
        if self._confidential and not confidential:
            self._masked_until = self._now() + MASK_LINGER_SECONDS
        self._confidential = confidential
        self._masking = self._masking or confidential

    def close(self) -> None:
        """End the recording."""
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
    """Publishes an event of the call."""

    def __call__(self, event_type: str, **data: object) -> None:
        """Publish the event."""


class RecordingFactory:
    """Makes the recordings of one call and publishes their events."""

    def __init__(self, recordings: RecordingService, tenant: str, call: str, publish: PublishEvent) -> None:
        self._recordings, self._tenant, self._call, self._publish = recordings, tenant, call, publish

    def start(self, kind: RecordingKind) -> "RecordingHandle":
        """Start a recording."""
        writer = self._recordings.start_recording(
            self._tenant, self._call, kind, lambda error: self._on_failed(writer, error)
        )
        self._publish("recording.started", recording=writer.recording.id, kind=kind)
        return RecordingHandle(writer, self._recordings.audio_url(writer.recording.id), self._publish)

    def _on_failed(self, writer: RecordingWriter, error: str) -> None:
        self._publish("recording.failed", recording=writer.recording.id, kind=writer.recording.kind, error=error)


class RecordingHandle:
    """One recording in progress, with its ``url``."""

    def __init__(self, writer: RecordingWriter, url: str, publish: PublishEvent) -> None:
        self.url = url
        self.write = writer.add
        self._writer, self._publish = writer, publish

    def close(self) -> None:
        """End the recording."""
        self._writer.close()
        recording = self._writer.recording
        self._publish(
            "recording.ended",
            recording=recording.id,
            kind=recording.kind,
            duration_seconds=self._writer.duration_seconds,
        )
