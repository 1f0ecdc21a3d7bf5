"""A recording's sound as a WAV file, whether it is one object already or still in pieces: any part of it can be read.

A piece that was lost is silence, so that both sides and the time stay right.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from vocelio.codecs import wav
from vocelio.codecs.mulaw import SAMPLE_RATE, SILENCE
from vocelio.gateway.storage.interfaces import Storage, Stored
from vocelio.gateway.store.recordings import Kept

PIECE_SAMPLES = SAMPLE_RATE // 2
"""Of each side in a piece: so much, and what is under way, is lost with a process."""

AT_ONCE = 16  # pieces read at a time: one after the other an hour's 7,200 would take S3 four minutes
STRETCH = 262_144  # bytes of a whole recording read at a time
WHOLE = "audio.wav"


def folder(recording: Kept) -> str:
    """Where all objects of a recording are."""
    return f"recordings/{recording.tenant}/{recording.call}/{recording.id}"


def piece_path(recording: Kept, number: int) -> str:
    """A piece's object; numbers count from 0."""
    return f"{folder(recording)}/{number:06}.ulaw"


def whole_path(recording: Kept) -> str:
    """The object of the recording as a whole."""
    return f"{folder(recording)}/{WHOLE}"


@dataclass(frozen=True, slots=True)
class Part:
    """``size`` bytes in a row: of the object at ``path`` from ``start`` on, or ``body`` itself."""

    size: int
    path: str = ""
    start: int = 0
    body: bytes = b""


class Sound:
    """The parts of a WAV file of ``size`` bytes.

    ``whole``: it is one object; ``broken``: some of it is silence because it was lost.
    """

    def __init__(self, storage: Storage, parts: Sequence[Part], *, whole: bool = False, broken: bool = False) -> None:
        self._storage, self._parts = storage, parts
        self.size = sum(part.size for part in parts)
        self.whole, self.broken = whole, broken

    async def read(self, start: int, end: int) -> AsyncIterator[bytes]:
        """The bytes from ``start`` to before ``end``. Raises StorageUnavailable, Missing."""
        wanted = list(_between(self._parts, start, end))
        for first in range(0, len(wanted), AT_ONCE):
            for body in await asyncio.gather(*map(self._body, wanted[first : first + AT_ONCE])):
                yield body

    async def _body(self, part: Part) -> bytes:
        return part.body or await self._storage.get(part.path, part.start, part.start + part.size)


def seconds(size: int, channels: int) -> float:
    """How long a WAV file of that size lasts."""
    return (size - wav.MULAW_HEADER) // channels / SAMPLE_RATE


async def sound(storage: Storage, recording: Kept) -> Sound | None:
    """A recording's sound as far as it is in the storage; None when nothing is. Raises StorageUnavailable."""
    stored = await storage.within(folder(recording))
    whole = next((one for one in stored if one.path == whole_path(recording)), None)
    if whole:  # it was written whole or not at all
        return Sound(storage, _stretches(whole), whole=True)
    pieces = {int(PurePosixPath(one.path).stem): one for one in stored}
    return _of_pieces(storage, recording, pieces) if pieces else None


def _of_pieces(storage: Storage, recording: Kept, pieces: dict[int, Stored]) -> Sound:
    lost = Part(PIECE_SAMPLES * recording.channels, body=bytes([SILENCE]) * PIECE_SAMPLES * recording.channels)
    sounds = [_piece(pieces[number]) if number in pieces else lost for number in range(max(pieces) + 1)]
    size = sum(part.size for part in sounds)
    header = wav.mulaw_header(size, recording.channels, SAMPLE_RATE)
    padding = [Part(1, body=b"\0")] * (size % 2)
    return Sound(storage, [Part(len(header), body=header), *sounds, *padding], broken=len(pieces) < len(sounds))


def _piece(stored: Stored) -> Part:
    return Part(stored.size, stored.path)


def _stretches(stored: Stored) -> list[Part]:
    starts = range(0, stored.size, STRETCH)
    return [Part(min(STRETCH, stored.size - start), stored.path, start) for start in starts]


def _between(parts: Sequence[Part], start: int, end: int) -> list[Part]:
    """What of the parts lies between two places of the whole."""
    found, place = [], 0
    for part in parts:
        first, last = max(start - place, 0), min(end - place, part.size)
        if first < last:
            found.append(Part(last - first, part.path, part.start + first, part.body[first:last]))
        place += part.size
    return found
