"""One recording while it is being made: cut into pieces, each of which is an object as soon as it is full.

Objects cannot be appended to, and a process may die at any moment: hence the pieces. Nothing here waits.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from vocelio.codecs.mulaw import SAMPLE_RATE
from vocelio.gateway.recordings.stored_audio import PIECE_SAMPLES, piece_path
from vocelio.gateway.recordings.upload_queue import Lane
from vocelio.gateway.storage.interfaces import Storage
from vocelio.gateway.store.recordings import Catalogue, Kept


class Deck(Protocol):
    """Where a tape runs."""

    storage: Storage
    catalogue: Catalogue
    rows: Lane
    pieces: Lane

    def written(self, tape: "Tape") -> None:
        """The tape has ended, and all of it is written or lost."""


class Tape:
    """``failed`` is told, once, when part of it is lost."""

    def __init__(self, deck: Deck, recording: Kept, failed: Callable[[str], None]) -> None:
        self.recording = recording
        self.broken = False
        self._deck, self._failed = deck, failed
        self._piece = PIECE_SAMPLES * recording.channels
        self._rest = bytearray()
        self._bytes = self._count = 0
        self._ended = False
        self._outstanding = 1
        deck.rows.put(_Row(self))

    @property
    def seconds(self) -> float:
        """How long it is by now."""
        return self._bytes / self.recording.channels / SAMPLE_RATE

    def add(self, sound: bytes) -> None:
        """More of it: mu-law, of two channels a byte of each in turn."""
        self._bytes += len(sound)
        self._rest += sound
        while len(self._rest) >= self._piece:
            self._cut()

    def end(self) -> None:
        """There is no more of it."""
        if self._rest:
            self._cut()
        self._ended = True
        self._check()

    def done(self) -> None:
        """A part is where it belongs."""
        self._outstanding -= 1
        self._check()

    def lost(self, problem: str) -> None:
        """A part will never be there."""
        if not self.broken:
            self.broken = True
            self._failed(problem)
        self.done()

    async def keep_row(self) -> None:
        """Make it known."""
        await self._deck.catalogue.add(self.recording)

    async def keep_piece(self, number: int, body: bytes) -> None:
        """Write a piece."""
        await self._deck.storage.put(piece_path(self.recording, number), body)

    def _cut(self) -> None:
        body = bytes(self._rest[: self._piece])
        del self._rest[: self._piece]
        number, self._count = self._count, self._count + 1
        self._outstanding += 1
        self._deck.pieces.put(_Piece(self, number, body))

    def _check(self) -> None:
        if self._ended and not self._outstanding:
            self._deck.written(self)


@dataclass(frozen=True, slots=True)
class _Row:
    """That there is such a recording."""

    tape: Tape
    size: int = 0

    async def run(self) -> None:
        await self.tape.keep_row()
        self.tape.done()

    def dropped(self, problem: str) -> None:
        self.tape.lost(problem)


@dataclass(frozen=True, slots=True)
class _Piece:
    """A piece of its sound."""

    tape: Tape
    number: int
    body: bytes

    @property
    def size(self) -> int:
        return len(self.body)

    async def run(self) -> None:
        await self.tape.keep_piece(self.number, self.body)
        self.tape.done()

    def dropped(self, problem: str) -> None:
        self.tape.lost(problem)
