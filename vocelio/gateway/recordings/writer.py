"""Writes one recording in chunks while the call runs; each chunk becomes an object as soon as it is full.

Objects cannot be appended to, and a process may be killed at any moment: hence the chunks. Nothing here waits.
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
    """What a writer needs of the recording service."""

    storage: Storage
    catalog: RecordingCatalog
    row_queue: RetryQueue
    chunk_queue: RetryQueue

    def on_written(self, writer: "RecordingWriter") -> None:
        """Finalize a recording that is closed and whose chunks are all written or lost."""


class RecordingWriter:
    """Writes one recording; ``on_failure`` is called once, when the first part is lost."""

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
        """Duration so far."""
        return self._total_bytes / self.recording.channels / SAMPLE_RATE

    def add(self, audio: bytes) -> None:
        """Append audio: mu-law, with two channels one byte of each in turn."""
        self._total_bytes += len(audio)
        self._buffer += audio
        while len(self._buffer) >= self._chunk_bytes:
            self._flush_chunk()

    def close(self) -> None:
        """End the recording."""
        if self._buffer:
            self._flush_chunk()
        self._closed = True
        self._notify_when_written()

    def on_part_written(self) -> None:
        """Count a part that has been written."""
        self._pending_writes -= 1
        self._notify_when_written()

    def on_part_lost(self, reason: str) -> None:
        """Count a part that is lost."""
        if not self.broken:
            self.broken = True
            self._on_failure(reason)
        self.on_part_written()

    async def save_row(self) -> None:
        """Add the recording to the catalog."""
        await self._backend.catalog.add(self.recording)

    async def save_chunk(self, number: int, data: bytes) -> None:
        """Store a chunk."""
        await self._backend.storage.put(chunk_path(self.recording, number), data)

    def _flush_chunk(self) -> None:
        data = bytes(self._buffer[: self._chunk_bytes])
        del self._buffer[: self._chunk_bytes]
        number, self._chunk_count = self._chunk_count, self._chunk_count + 1
        self._pending_writes += 1
        self._backend.chunk_queue.submit(_ChunkJob(self, number, data))

    def _notify_when_written(self) -> None:
        if self._closed and not self._pending_writes:
            self._backend.on_written(self)


@dataclass(frozen=True, slots=True)
class _RowJob:
    """Adds the recording to the catalog."""

    writer: RecordingWriter
    size: int = 0

    async def run(self) -> None:
        await self.writer.save_row()
        self.writer.on_part_written()

    def on_dropped(self, reason: str) -> None:
        self.writer.on_part_lost(reason)


@dataclass(frozen=True, slots=True)
class _ChunkJob:
    """Stores one chunk."""

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
