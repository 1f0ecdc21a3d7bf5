"""Recordings on storages that fail, stall or come back, on a virtual clock."""

import asyncio

from vocelio.gateway.errors import StorageUnavailable
from vocelio.gateway.recordings.service import HELD, Recordings
from vocelio.gateway.storage.memory import MemoryStorage
from vocelio.gateway.store.recordings import MemoryCatalogue

START = 1_700_000_000_000_000  # microseconds UTC


class Weak(MemoryStorage):
    """A storage that is ``away`` as long as a test says, or answers after ``stall`` seconds only."""

    def __init__(self, wall):
        super().__init__(wall)
        self.away, self.stall, self.asked = False, 0.0, 0

    async def put(self, path, body):
        """See Storage."""
        self.asked += 1
        await asyncio.sleep(self.stall)
        if self.away:
            raise StorageUnavailable("it is away")
        await super().put(path, body)


class Desk:
    """Recordings, and what was said of failures."""

    def __init__(self, storage=None, catalogue=None, held=HELD):
        loop = asyncio.get_running_loop()
        self.later = 0

        def wall():
            return START + round(loop.time() * 1e6) + self.later

        self.storage = storage or Weak(wall)
        self.catalogue = catalogue or MemoryCatalogue()
        self.recordings = Recordings(self.storage, self.catalogue, wall, "https://gateway.example", held)
        self.failures = []

    def begin(self, kind="voicemail"):
        return self.recordings.begin("harbour", "CA1", kind, self.failures.append)

    def restarted(self, seconds):
        """Another process, so much later, on the same storage."""
        other = Desk(self.storage, self.catalogue)
        other.later = self.later + round(seconds * 1e6)
        return other

    def kept(self):
        (kept,) = self.catalogue.recordings.values()
        return kept
