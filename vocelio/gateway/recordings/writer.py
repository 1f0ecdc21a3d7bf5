"""One recording while it is being made: cut into pieces, each of which is an object as soon as it is full.

Objects cannot be appended to, and a process may die at any moment: hence the pieces. Nothing here waits.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from vocelio.codecs.mulaw import SAMPLE_RATE
from vocelio.gateway.recordings.stored_audio import CHUNK_SAMPLES, chunk_path
from vocelio.gateway.recordings.upload_queue import RetryQueue
from vocelio.gateway.storage.interfaces import Storage
from vocelio.gateway.store.recordings import RecordingCatalog, StoredRecording


class RecordingBackend(Protocol):
    """Where a tape runs."""

    storage: Storage
    catalog: RecordingCatalog
    row_queue: RetryQueue
    chunk_queue: RetryQueue

    def on_written(self, writer: "RecordingWriter") -> None:
        """The tape has ended, and all of it is written or lost."""


class RecordingWriter:
    """``failed`` is told, once, when part of it is lost."""

    def __init__(
        self, backend: RecordingBackend, recording: StoredRecording, on_failure: Callable[[str], None]
    ) -> None:
        self.recording = recording
        self.broken = False
        self._backend, self._on_failure = backend, on_failure
        self._chunk_bytes = CHUNK_SAMPLES * recording.channels
        self._buffer = bytearray()
        self._total_bytes = self._chunk_count = 0
        self._closed = False
        self._pending_writes = 1
        backend.row_queue.submit(_RowJob(self))

    @property
    def duration_seconds(self) -> float:
        """How long it is by now."""
        return self._total_bytes / self.recording.channels / SAMPLE_RATE

    def add(self, audio: bytes) -> None:
        """More of it: mu-law, of two channels a byte of each in turn."""
        self._total_bytes += len(audio)
        self._buffer += audio
        while len(self._buffer) >= self._chunk_bytes:
            self._flush_chunk()

    def close(self) -> None:
        """There is no more of it."""
        if self._buffer:
            self._flush_chunk()
        self._closed = True
        self._notify_when_written()

    def on_part_written(self) -> None:
        """A part is where it belongs."""
        self._pending_writes -= 1
        self._notify_when_written()

    def on_part_lost(self, reason: str) -> None:
        """A part will never be there."""
        if not self.broken:
            self.broken = True
            self._on_failure(reason)
        self.on_part_written()

    async def save_row(self) -> None:
        """Make it known."""
        await self._backend.catalog.add(self.recording)

    async def save_chunk(self, number: int, data: bytes) -> None:
        """Write a piece."""
        await self._backend.storage.put(chunk_path(self.recording, number), data)

    def _flush_chunk(self) -> None:
        body = bytes(self._buffer[: self._chunk_bytes])
        del self._buffer[: self._chunk_bytes]
        number, self._chunk_count = self._chunk_count, self._chunk_count + 1
        self._pending_writes += 1
        self._backend.chunk_queue.submit(_ChunkJob(self, number, body))

    def _notify_when_written(self) -> None:
        if self._closed and not self._pending_writes:
            self._backend.on_written(self)


@dataclass(frozen=True, slots=True)
class _RowJob:
    """That there is such a recording."""

    writer: RecordingWriter
    size: int = 0

    async def run(self) -> None:
        await self.writer.save_row()
        self.writer.on_part_written()

    def on_dropped(self, reason: str) -> None:
        self.writer.on_part_lost(reason)


@dataclass(frozen=True, slots=True)
class _ChunkJob:
    """A piece of its sound."""

    writer: RecordingWriter
    number: int
    data: bytes

    @property
    def size(self) -> int:
        return len(self.data)

    async def run(self) -> None:
        await self.writer.save_chunk(self.number, self.data)
        self.writer.on_part_written()

    def on_dropped(self, reason: str) -> None:
        self.writer.on_part_lost(reason)
