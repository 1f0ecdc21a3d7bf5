"""The recordings of a process: writers while calls run, and their finalization afterwards.

A finished recording is joined into one object. If its process was killed, a sweep of any process joins it: one in the
state "writing" that has had no new chunk for a while. Both do the same: write the final object, delete the chunks,
update the catalog. If that is interrupted anywhere, it continues from there.
"""

import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import msgspec

from vocelio.gateway.aio.tasks import PeriodicTask
from vocelio.gateway.clock import Instant, WallClock, wall_clock
from vocelio.gateway.recordings.stored_audio import (
    StoredAudio,
    audio_path,
    duration_seconds,
    load_stored_audio,
    recording_folder,
)
from vocelio.gateway.recordings.upload_queue import RetryQueue
from vocelio.gateway.recordings.writer import RecordingWriter
from vocelio.gateway.storage.interfaces import MemoryStorage, ObjectNotFound, Storage
from vocelio.gateway.store.audit import sortable_id
from vocelio.gateway.store.recordings import InMemoryRecordingCatalog, RecordingCatalog, RecordingKind, StoredRecording

LOG = logging.getLogger(__name__)

CHUNK_WRITE_CONCURRENCY = 32  # S3 takes 50 ms for a chunk, and 300 calls have 600 a second
MAX_QUEUED_BYTES = 64_000_000  # bytes of queued chunks, an hour of both sides; past it the oldest are dropped
ROW_WRITE_CONCURRENCY, FINALIZE_CONCURRENCY = 2, 2
SWEEP_INTERVAL_SECONDS = 180.0
STALE_AFTER_MICROSECONDS = 300_000_000  # without a new chunk: silence lasts 60 s at most, clocks differ by less
CLOSE_TIMEOUT_SECONDS = 4.0  # for each queue; what is not joined then is joined by the next sweep
CHANNELS_BY_KIND: dict[RecordingKind, int] = {"voicemail": 1, "call": 2}


class RecordingService:
    """Starts, finalizes and reads recordings. ``base_url`` is the public URL of the API."""

    def __init__(
        self,
        storage: Storage,
        catalog: RecordingCatalog,
        wall: WallClock = wall_clock,
        base_url: str = "",
        max_queued_bytes: int = MAX_QUEUED_BYTES,
    ) -> None:
        self.storage, self.catalog = storage, catalog
        self.row_queue = RetryQueue("rows", ROW_WRITE_CONCURRENCY)
        self.chunk_queue = RetryQueue("chunks", CHUNK_WRITE_CONCURRENCY, max_queued_bytes)
        self._finalize_queue = RetryQueue("finalizations", FINALIZE_CONCURRENCY)
        self._wall, self._base_url = wall, base_url
        self._writers: dict[str, RecordingWriter] = {}
        self._sweep_task = PeriodicTask("sweep of stale recordings", SWEEP_INTERVAL_SECONDS, self.finalize_stale)

    def start_recording(
        self, tenant: str, call: str, kind: RecordingKind, on_failure: Callable[[str], None]
    ) -> RecordingWriter:
        """Start a recording; ``on_failure`` is called once, when a part of it is lost."""
        now = self._wall()
        recording = StoredRecording(
            tenant=tenant,
            id=sortable_id(now),
            call=call,
            kind=kind,
            channels=CHANNELS_BY_KIND[kind],
            started_at=Instant(now),
        )
        writer = self._writers[recording.id] = RecordingWriter(self, recording, on_failure)
        return writer

    def audio_url(self, recording: str) -> str:
        """Return the URL of the recording's audio in the API."""
        return f"{self._base_url}/v1/recordings/{recording}/audio"

    async def get_audio(self, recording: StoredRecording) -> StoredAudio | None:
        """Find the audio written so far; None if there is none. Raises StorageUnavailable."""
        return await load_stored_audio(self.storage, recording)

    async def delete_audio(self, recording: StoredRecording) -> None:
        """Delete all audio of a recording. Raises StorageUnavailable."""
        await self.storage.delete([info.path for info in await self.storage.list_objects(recording_folder(recording))])

    def on_written(self, writer: RecordingWriter) -> None:
        self._finalize_queue.submit(_FinalizeJob(self, writer))

    async def finalize(self, recording: StoredRecording, *, broken: bool) -> None:
        """Join the chunks and mark the recording complete or broken. Raises DatabaseUnavailable, ObjectNotFound."""
        audio = await self.get_audio(recording)
        if audio is None:
            await self.catalog.finish(msgspec.structs.replace(recording, state="broken"))
            return
        await self._write_audio_object(recording, audio)
        finished = msgspec.structs.replace(
            recording,
            state="broken" if broken or audio.broken else "complete",
            duration_seconds=duration_seconds(audio.size, recording.channels),
            size_bytes=audio.size,
            object_path=audio_path(recording),
        )
        await self.catalog.finish(finished)

    async def _write_audio_object(self, recording: StoredRecording, audio: StoredAudio) -> None:
        final_path = audio_path(recording)
        if not audio.finalized:
            await self.storage.put(final_path, audio.read(0, audio.size))
        stored = await self.storage.list_objects(recording_folder(recording))
        await self.storage.delete([info.path for info in stored if info.path != final_path])

    def on_finalized(self, writer: RecordingWriter) -> None:
        """Forget the writer."""
        self._writers.pop(writer.recording.id, None)

    async def finalize_stale(self) -> None:
        """Finalize recordings left by killed processes. Raises DatabaseUnavailable."""
        before = self._wall() - STALE_AFTER_MICROSECONDS
        for recording in await self.catalog.list_unfinished(before):
            if recording.id not in self._writers:
                with suppress(ObjectNotFound):  # another process is finalizing it
                    await self._finalize_if_stale(recording, before)

    async def _finalize_if_stale(self, recording: StoredRecording, before: int) -> None:
        stored = await self.storage.list_objects(recording_folder(recording))
        if all(info.modified_at < before for info in stored):
            LOG.info("recording %s of call %s was left unfinished; finalizing it", recording.id, recording.call)
            await self.finalize(recording, broken=False)

    async def start(self) -> None:
        await self._sweep_task.start()

    async def aclose(self) -> None:
        """Write what is queued, within CLOSE_TIMEOUT_SECONDS per queue."""
        await self._sweep_task.aclose()
        for queue in (self.chunk_queue, self.row_queue, self._finalize_queue):
            await queue.aclose(CLOSE_TIMEOUT_SECONDS)


def in_memory_recordings() -> RecordingService:
    """Create a service that keeps recordings in memory: for the demo, spoken scenarios and tests."""
    return RecordingService(MemoryStorage(), InMemoryRecordingCatalog())


@dataclass(frozen=True, slots=True)
class _FinalizeJob:
    """Finalizes a recording that has ended."""

    service: RecordingService
    writer: RecordingWriter
    size: int = 0

    async def run(self) -> None:
        await self.service.finalize(self.writer.recording, broken=self.writer.broken)
        self.service.on_finalized(self.writer)

    def on_dropped(self, reason: str) -> None:
        LOG.warning("recording %s was not finalized (%s); the next sweep does it", self.writer.recording.id, reason)
        self.service.on_finalized(self.writer)
