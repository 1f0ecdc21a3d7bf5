"""The recording of a message that the caller leaves.

Nothing is kept of one that is shorter than what the flow takes for a message: nobody wants to listen to the click of
somebody hanging up.
"""

from vocelio.codecs.mulaw import SAMPLE_RATE
from vocelio.codecs.vad import SpeechStarted
from vocelio.engine.actions import Record
from vocelio.engine.nodes.record import MIN_MESSAGE_SECONDS
from vocelio.gateway.calls.media.recording_handle import RecordingFactory, RecordingHandle
from vocelio.gateway.media.speech_input import VadEvent
from vocelio.gateway.media.voicemail import VoicemailTrimmer


class VoicemailRecording:
    """One message, from where the caller may speak. ``speaking``: the caller does so already."""

    def __init__(self, factory: RecordingFactory, action: Record, *, speaking: bool) -> None:
        self._factory = factory
        self._trimmer = VoicemailTrimmer(action.silence_seconds, action.max_seconds, speaking=speaking)
        self._recording: RecordingHandle | None = None
        self._buffer = bytearray()  # what may yet be too short
        self._sample_count = 0

    def on_audio(self, audio: bytes) -> bool:
        """The caller's next sound; whether the message is over."""
        if kept := self._trimmer.on_audio(audio):
            self._write(kept)
        return self._trimmer.is_over

    def on_vad(self, event: VadEvent) -> None:
        """The caller begins to speak, or has fallen silent."""
        if isinstance(event, SpeechStarted):
            self._trimmer.on_voice()
        else:
            self._trimmer.on_silence(event.detected_at - event.ended_at)

    def finish(self) -> tuple[float, str]:
        """The message is over: its seconds, and where it can be heard (nowhere, if nothing was kept)."""
        if self._recording:
            self._recording.close()
        return self._sample_count / SAMPLE_RATE, self._recording.url if self._recording else ""

    def _write(self, audio: bytes) -> None:
        self._sample_count += len(audio)
        if self._recording:
            self._recording.write(audio)
            return
        self._buffer += audio
        if self._sample_count >= MIN_MESSAGE_SECONDS * SAMPLE_RATE:
            self._recording = self._factory.start("voicemail")
            self._recording.write(bytes(self._buffer))
