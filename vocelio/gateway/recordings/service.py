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

from vocelio.gateway.aio.periodic import Periodic
from vocelio.gateway.clock import WallClock, wall_clock
from vocelio.gateway.recordings.stored_audio import Sound, folder, seconds, sound, whole_path
from vocelio.gateway.recordings.upload_queue import Lane
from vocelio.gateway.recordings.writer import Tape
from vocelio.gateway.storage.interfaces import Missing, Storage
from vocelio.gateway.storage.memory import MemoryStorage
from vocelio.gateway.store.audit.actor import unique
from vocelio.gateway.store.recordings import Catalogue, Kept, Kind, MemoryCatalogue

LOG = logging.getLogger(__name__)

WRITERS = 32  # pieces at once: S3 takes 50 ms for one, and 300 calls have 600 a second
HELD = 64_000_000  # bytes of pieces that wait for the storage, an hour of both sides; past it the oldest are dropped
ROW_WRITERS, JOINERS = 2, 2
SWEEP_SECONDS = 180.0
STALE = 300_000_000  # microseconds without a new piece: a message's longest silence is 60 s, clocks differ by less
CLOSING_SECONDS = 4.0  # for the pieces; what cannot be joined then, the next sweep joins
CHANNELS: dict[Kind, int] = {"voicemail": 1, "call": 2}


class Recordings:
    """What makes and keeps recordings. ``origin`` is where the API is for the world.

    ``held`` bytes may wait for the storage.
    """

    def __init__(
        self,
        storage: Storage,
        catalogue: Catalogue,
        wall: WallClock = wall_clock,
        origin: str = "",
        held: int = HELD,
    ) -> None:
        self.storage, self.catalogue = storage, catalogue
        self.rows = Lane("rows", ROW_WRITERS)
        self.pieces = Lane("pieces", WRITERS, held)
        self._joins = Lane("joins", JOINERS)
        self._wall, self._origin = wall, origin
        self._tapes: dict[str, Tape] = {}
        self._sweeping = Periodic("sweep of recordings", SWEEP_SECONDS, self.sweep)

    def begin(self, tenant: str, call: str, kind: Kind, failed: Callable[[str], None]) -> Tape:
        """A recording begins. ``failed`` is told, once, when part of it is lost."""
        now = self._wall()
        kept = Kept(tenant=tenant, id=unique(now), call=call, kind=kind, channels=CHANNELS[kind], started=now)
        tape = self._tapes[kept.id] = Tape(self, kept, failed)
        return tape

    def url(self, recording: str) -> str:
        """Where the API has its sound."""
        return f"{self._origin}/v1/recordings/{recording}/audio"

    async def sound(self, recording: Kept) -> Sound | None:
        """Its sound as far as it is written; None when nothing is. Raises StorageUnavailable."""
        return await sound(self.storage, recording)

    async def remove(self, recording: Kept) -> None:
        """Remove all of its sound. Raises StorageUnavailable."""
        await self.storage.delete([one.path for one in await self.storage.within(folder(recording))])

    def written(self, tape: Tape) -> None:
        """See Deck."""
        self._joins.put(_Join(self, tape))

    async def join(self, recording: Kept, *, broken: bool) -> None:
        """Make one object of it, and say that it is complete or ``broken``. Raises StoreUnavailable, Missing."""
        found = await self.sound(recording)
        if found is None:
            await self.catalogue.finish(msgspec.structs.replace(recording, state="broken"))
            return
        await self._make_whole(recording, found)
        finished = msgspec.structs.replace(
            recording,
            state="broken" if broken or found.broken else "complete",
            seconds=seconds(found.size, recording.channels),
            bytes=found.size,
            object=whole_path(recording),
        )
        await self.catalogue.finish(finished)

    async def _make_whole(self, recording: Kept, found: Sound) -> None:
        whole = whole_path(recording)
        if not found.whole:
            await self.storage.put(whole, found.read(0, found.size))
        stored = await self.storage.within(folder(recording))
        await self.storage.delete([one.path for one in stored if one.path != whole])

    def joined(self, tape: Tape) -> None:
        """The tape is no more."""
        self._tapes.pop(tape.recording.id, None)

    async def sweep(self) -> None:
        """Join what other processes have left behind. Raises StoreUnavailable."""
        before = self._wall() - STALE
        for recording in await self.catalogue.unfinished(before):
            if recording.id not in self._tapes:
                with suppress(Missing):  # another process joins it at this moment
                    await self._join_stale(recording, before)

    async def _join_stale(self, recording: Kept, before: int) -> None:
        stored = await self.storage.within(folder(recording))
        if all(one.changed < before for one in stored):
            LOG.info("recording %s of call %s was left unfinished", recording.id, recording.call)
            await self.join(recording, broken=False)

    async def start(self) -> None:
        """Begin to sweep."""
        await self._sweeping.start()

    async def aclose(self) -> None:
        """Until everything is written, or cannot be in time."""
        await self._sweeping.aclose()
        for lane in (self.pieces, self.rows, self._joins):
            await lane.aclose(CLOSING_SECONDS)


def in_memory() -> Recordings:
    """Recordings that are gone with the process: for the demo, spoken scenarios and tests."""
    return Recordings(MemoryStorage(), MemoryCatalogue())


@dataclass(frozen=True, slots=True)
class _Join:
    """A tape that has ended."""

    recordings: Recordings
    tape: Tape
    size: int = 0

    async def run(self) -> None:
        await self.recordings.join(self.tape.recording, broken=self.tape.broken)
        self.recordings.joined(self.tape)

    def dropped(self, problem: str) -> None:
        LOG.warning("recording %s stays in pieces: %s", self.tape.recording.id, problem)
        self.recordings.joined(self.tape)
