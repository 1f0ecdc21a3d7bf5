"""A recording's sound as a WAV file, whether it is one object already or still in pieces: any part of it can be read.

A piece that was lost is silence, so that both sides and the time stay right.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from vocelio.codecs import wav
from vocelio.codecs.mulaw import SAMPLE_RATE, SILENCE_BYTE
from vocelio.gateway.storage.interfaces import ObjectInfo, Storage
from vocelio.gateway.store.recordings import StoredRecording

CHUNK_SAMPLES = SAMPLE_RATE // 2
"""Of each side in a piece: so much, and what is under way, is lost with a process."""

READ_CONCURRENCY = 16  # pieces read at a time: one after the other an hour's 7,200 would take S3 four minutes
READ_CHUNK_BYTES = 262_144  # bytes of a whole recording read at a time
AUDIO_FILE_NAME = "audio.wav"


def recording_folder(recording: StoredRecording) -> str:
    """Where all objects of a recording are."""
    return f"recordings/{recording.tenant}/{recording.call}/{recording.id}"


def chunk_path(recording: StoredRecording, number: int) -> str:
    """A piece's object; numbers count from 0."""
    return f"{recording_folder(recording)}/{number:06}.ulaw"


def audio_path(recording: StoredRecording) -> str:
    """The object of the recording as a whole."""
    return f"{recording_folder(recording)}/{AUDIO_FILE_NAME}"


@dataclass(frozen=True, slots=True)
class Segment:
    """``size`` bytes in a row: of the object at ``path`` from ``start`` on, or ``body`` itself."""

    size: int
    path: str = ""
    start: int = 0
    data: bytes = b""


class StoredAudio:
    """The parts of a WAV file of ``size`` bytes.

    ``whole``: it is one object; ``broken``: some of it is silence because it was lost.
    """

    def __init__(
        self, storage: Storage, segments: Sequence[Segment], *, finalized: bool = False, broken: bool = False
    ) -> None:
        self._storage, self._segments = storage, segments
        self.size = sum(part.size for part in segments)
        self.finalized, self.broken = finalized, broken

    async def read(self, start: int, end: int) -> AsyncIterator[bytes]:
        """The bytes from ``start`` to before ``end``. Raises StorageUnavailable, Missing."""
        wanted = list(_slice_segments(self._segments, start, end))
        for first in range(0, len(wanted), READ_CONCURRENCY):
            for body in await asyncio.gather(*map(self._read_segment, wanted[first : first + READ_CONCURRENCY])):
                yield body

    async def _read_segment(self, segment: Segment) -> bytes:
        return segment.data or await self._storage.get(segment.path, segment.start, segment.start + segment.size)


def duration_seconds(size: int, channels: int) -> float:
    """How long a WAV file of that size lasts."""
    return (size - wav.MULAW_HEADER_BYTES) // channels / SAMPLE_RATE


async def load_stored_audio(storage: Storage, recording: StoredRecording) -> StoredAudio | None:
    """A recording's sound as far as it is in the storage; None when nothing is. Raises StorageUnavailable."""
    stored = await storage.list_objects(recording_folder(recording))
    whole = next((one for one in stored if one.path == audio_path(recording)), None)
    if whole:  # it was written whole or not at all
        return StoredAudio(storage, _file_segments(whole), finalized=True)
    pieces = {int(PurePosixPath(one.path).stem): one for one in stored}
    return _from_chunks(storage, recording, pieces) if pieces else None


def _from_chunks(storage: Storage, recording: StoredRecording, chunks: dict[int, ObjectInfo]) -> StoredAudio:
    lost = Segment(CHUNK_SAMPLES * recording.channels, data=bytes([SILENCE_BYTE]) * CHUNK_SAMPLES * recording.channels)
    sounds = [_chunk_segment(chunks[number]) if number in chunks else lost for number in range(max(chunks) + 1)]
    size = sum(part.size for part in sounds)
    header = wav.mulaw_header(size, recording.channels, SAMPLE_RATE)
    padding = [Segment(1, data=b"\0")] * (size % 2)
    return StoredAudio(
        storage, [Segment(len(header), data=header), *sounds, *padding], broken=len(chunks) < len(sounds)
    )


def _chunk_segment(stored: ObjectInfo) -> Segment:
    return Segment(stored.size, stored.path)


def _file_segments(stored: ObjectInfo) -> list[Segment]:
    starts = range(0, stored.size, READ_CHUNK_BYTES)
    return [Segment(min(READ_CHUNK_BYTES, stored.size - start), stored.path, start) for start in starts]


def _slice_segments(segments: Sequence[Segment], start: int, end: int) -> list[Segment]:
    """What of the parts lies between two places of the whole."""
    found, place = [], 0
    for part in segments:
        first, last = max(start - place, 0), min(end - place, part.size)
        if first < last:
            found.append(Segment(last - first, part.path, part.start + first, part.data[first:last]))
        place += part.size
    return found
