"""A recording of a call as those who watch the call are told of it: it starts, it may lose a part, it ends."""

from typing import Protocol

from vocelio.gateway.recordings.service import RecordingService
from vocelio.gateway.recordings.writer import RecordingWriter
from vocelio.gateway.store.recordings import RecordingKind


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
        self._publish("recording.started", recording=tape.recording.id, what=kind)
        return RecordingHandle(tape, self._recordings.audio_url(tape.recording.id), self._publish)

    def _on_failed(self, writer: RecordingWriter, error: str) -> None:
        self._publish("recording.failed", recording=writer.recording.id, what=writer.recording.kind, problem=error)


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
        self._publish("recording.ended", recording=kept.id, what=kept.kind, seconds=self._writer.duration_seconds)
