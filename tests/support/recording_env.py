"""A recording service on a storage that can fail, stall and recover, in virtual time."""

import asyncio

from vocelio.gateway.errors import StorageUnavailable
from vocelio.gateway.recordings.service import MAX_QUEUED_BYTES, RecordingService
from vocelio.gateway.storage.interfaces import MemoryStorage
from vocelio.gateway.store.recordings import InMemoryRecordingCatalog

STARTED_AT = 1_700_000_000_000_000  # microseconds UTC


class FaultyStorage(MemoryStorage):
    """A storage that is ``away`` as long as a test says, or answers after ``stall`` seconds only."""

    def __init__(self, wall):
        super().__init__(wall)
        self.is_unavailable, self.stall_seconds, self.put_count = False, 0.0, 0

    async def put(self, path, body):
        self.put_count += 1
        await asyncio.sleep(self.stall_seconds)
        if self.is_unavailable:
            raise StorageUnavailable("it is away")
        await super().put(path, body)


class RecordingEnv:
    """A recording service, with the failures that it reported."""

    def __init__(self, storage=None, catalogue=None, stored=MAX_QUEUED_BYTES):
        loop = asyncio.get_running_loop()
        self.clock_offset = 0

        def wall():
            return STARTED_AT + round(loop.time() * 1e6) + self.clock_offset

        self.storage = storage or FaultyStorage(wall)
        self.catalogue = catalogue or InMemoryRecordingCatalog()
        self.recordings = RecordingService(self.storage, self.catalogue, wall, "https://gateway.example", stored)
        self.failures = []

    def start(self, kind="voicemail"):
        return self.recordings.start_recording("harbour", "CA1", kind, self.failures.append)

    def restart(self, seconds):
        """Return another process on the same storage, later."""
        other = RecordingEnv(self.storage, self.catalogue)
        other.clock_offset = self.clock_offset + round(seconds * 1e6)
        return other

    def stored_recording(self):
        (kept,) = self.catalogue.recordings.values()
        return kept
