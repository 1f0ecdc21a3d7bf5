"""The recordings of a process: tapes that run, and what becomes of them when they have ended.

What has ended is joined into one object. A recording whose process died is joined by a sweep of any process: one that
says "writing", of which no new piece has come for a while. Both do the same: the whole is written, then the pieces are
removed, then the catalogue says so. Broken off anywhere in between, it is done again from where it was.
"""

import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import msgspec

from vocelio.gateway.aio.tasks import PeriodicTask
from vocelio.gateway.clock import WallClock, wall_clock
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

CHUNK_WRITE_CONCURRENCY = 32  # pieces at once: S3 takes 50 ms for one, and 300 calls have 600 a second
MAX_QUEUED_BYTES = (
    64_000_000  # bytes of pieces that wait for the storage, an hour of both sides; past it the oldest are dropped
)
ROW_WRITE_CONCURRENCY, FINALIZE_CONCURRENCY = 2, 2
SWEEP_INTERVAL_SECONDS = 180.0
STALE_AFTER_MICROSECONDS = (
    300_000_000  # microseconds without a new piece: a message's longest silence is 60 s, clocks differ by less
)
CLOSE_TIMEOUT_SECONDS = 4.0  # for the pieces; what cannot be joined then, the next sweep joins
CHANNELS_BY_KIND: dict[RecordingKind, int] = {"voicemail": 1, "call": 2}


class RecordingService:
    """What makes and keeps recordings. ``origin`` is where the API is for the world.

    ``held`` bytes may wait for the storage.
    """

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
        self.chunk_queue = RetryQueue("pieces", CHUNK_WRITE_CONCURRENCY, max_queued_bytes)
        self._finalize_queue = RetryQueue("joins", FINALIZE_CONCURRENCY)
        self._wall, self._base_url = wall, base_url
        self._writers: dict[str, RecordingWriter] = {}
        self._sweep_task = PeriodicTask("sweep of recordings", SWEEP_INTERVAL_SECONDS, self.finalize_stale)

    def start_recording(
        self, tenant: str, call: str, kind: RecordingKind, on_failure: Callable[[str], None]
    ) -> RecordingWriter:
        """A recording begins. ``failed`` is told, once, when part of it is lost."""
        now = self._wall()
        kept = StoredRecording(
            tenant=tenant, id=sortable_id(now), call=call, kind=kind, channels=CHANNELS_BY_KIND[kind], started_at=now
        )
        tape = self._writers[kept.id] = RecordingWriter(self, kept, on_failure)
        return tape

    def audio_url(self, recording: str) -> str:
        """Where the API has its sound."""
        return f"{self._base_url}/v1/recordings/{recording}/audio"

    async def get_audio(self, recording: StoredRecording) -> StoredAudio | None:
        """Its sound as far as it is written; None when nothing is. Raises StorageUnavailable."""
        return await load_stored_audio(self.storage, recording)

    async def delete_audio(self, recording: StoredRecording) -> None:
        """Remove all of its sound. Raises StorageUnavailable."""
        await self.storage.delete([one.path for one in await self.storage.list_objects(recording_folder(recording))])

    def on_written(self, writer: RecordingWriter) -> None:
        """See Deck."""
        self._finalize_queue.submit(_FinalizeJob(self, writer))

    async def finalize(self, recording: StoredRecording, *, broken: bool) -> None:
        """Make one object of it, and say that it is complete or ``broken``. Raises StoreUnavailable, Missing."""
        found = await self.get_audio(recording)
        if found is None:
            await self.catalog.finish(msgspec.structs.replace(recording, state="broken"))
            return
        await self._write_audio_object(recording, found)
        finished = msgspec.structs.replace(
            recording,
            state="broken" if broken or found.broken else "complete",
            duration_seconds=duration_seconds(found.size, recording.channels),
            size_bytes=found.size,
            object_path=audio_path(recording),
        )
        await self.catalog.finish(finished)

    async def _write_audio_object(self, recording: StoredRecording, audio: StoredAudio) -> None:
        whole = audio_path(recording)
        if not audio.finalized:
            await self.storage.put(whole, audio.read(0, audio.size))
        stored = await self.storage.list_objects(recording_folder(recording))
        await self.storage.delete([one.path for one in stored if one.path != whole])

    def on_finalized(self, writer: RecordingWriter) -> None:
        """The tape is no more."""
        self._writers.pop(writer.recording.id, None)

    async def finalize_stale(self) -> None:
        """Join what other processes have left behind. Raises StoreUnavailable."""
        before = self._wall() - STALE_AFTER_MICROSECONDS
        for recording in await self.catalog.list_unfinished(before):
            if recording.id not in self._writers:
                with suppress(ObjectNotFound):  # another process joins it at this moment
                    await self._finalize_if_stale(recording, before)

    async def _finalize_if_stale(self, recording: StoredRecording, before: int) -> None:
        stored = await self.storage.list_objects(recording_folder(recording))
        if all(one.modified_at < before for one in stored):
            LOG.info("recording %s of call %s was left unfinished", recording.id, recording.call)
            await self.finalize(recording, broken=False)

    async def start(self) -> None:
        """Begin to sweep."""
        await self._sweep_task.start()

    async def aclose(self) -> None:
        """Until everything is written, or cannot be in time."""
        await self._sweep_task.aclose()
        for lane in (self.chunk_queue, self.row_queue, self._finalize_queue):
            await lane.aclose(CLOSE_TIMEOUT_SECONDS)


def in_memory_recordings() -> RecordingService:
    """Recordings that are gone with the process: for the demo, spoken scenarios and tests."""
    return RecordingService(MemoryStorage(), InMemoryRecordingCatalog())


@dataclass(frozen=True, slots=True)
class _FinalizeJob:
    """A tape that has ended."""

    service: RecordingService
    writer: RecordingWriter
    size: int = 0

    async def run(self) -> None:
        await self.service.finalize(self.writer.recording, broken=self.writer.broken)
        self.service.on_finalized(self.writer)

    def on_dropped(self, reason: str) -> None:
        LOG.warning("recording %s stays in pieces: %s", self.writer.recording.id, reason)
        self.service.on_finalized(self.writer)
