"""The audio of a recording as a WAV file of which any range can be read, from the final object or from its chunks.

A lost chunk is silence, so that both sides stay in time.
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
"""Samples of each side in a chunk: a killed process loses this much, and what is being written."""

READ_CONCURRENCY = 16  # chunks read at a time: one by one, the 7,200 of an hour would take S3 four minutes
READ_CHUNK_BYTES = 262_144  # bytes of the final object read at a time
AUDIO_FILE_NAME = "audio.wav"


def recording_folder(recording: StoredRecording) -> str:
    """Return the folder of a recording's objects."""
    return f"recordings/{recording.tenant}/{recording.call}/{recording.id}"


def chunk_path(recording: StoredRecording, number: int) -> str:
    """Return the path of a chunk; numbers start at 0."""
    return f"{recording_folder(recording)}/{number:06}.ulaw"


def audio_path(recording: StoredRecording) -> str:
    """Return the path of the final object."""
    return f"{recording_folder(recording)}/{AUDIO_FILE_NAME}"


@dataclass(frozen=True, slots=True)
class Segment:
    """``size`` consecutive bytes: of the object at ``path`` from ``start`` on, or ``data`` itself."""

    size: int
    path: str = ""
    start: int = 0
    data: bytes = b""


class StoredAudio:
    """A WAV file of ``size`` bytes, made of segments.

    ``finalized``: it is one object; ``broken``: lost parts were replaced by silence.
    """

    def __init__(
        self, storage: Storage, segments: Sequence[Segment], *, finalized: bool = False, broken: bool = False
    ) -> None:
        self._storage, self._segments = storage, segments
        self.size = sum(segment.size for segment in segments)
        self.finalized, self.broken = finalized, broken

    async def read(self, start: int, end: int) -> AsyncIterator[bytes]:
        """Read the bytes from ``start`` to before ``end``. Raises StorageUnavailable, ObjectNotFound."""
        segments = list(_slice_segments(self._segments, start, end))
        for first in range(0, len(segments), READ_CONCURRENCY):
            for data in await asyncio.gather(*map(self._read_segment, segments[first : first + READ_CONCURRENCY])):
                yield data

    async def _read_segment(self, segment: Segment) -> bytes:
        return segment.data or await self._storage.get(segment.path, segment.start, segment.start + segment.size)


def duration_seconds(size: int, channels: int) -> float:
    """Return the duration of a WAV file of that size."""
    return (size - wav.MULAW_HEADER_BYTES) // channels / SAMPLE_RATE


async def load_stored_audio(storage: Storage, recording: StoredRecording) -> StoredAudio | None:
    """Find the audio of a recording in the storage; None if there is none. Raises StorageUnavailable."""
    stored = await storage.list_objects(recording_folder(recording))
    final = next((info for info in stored if info.path == audio_path(recording)), None)
    if final:  # an object is written completely or not at all
        return StoredAudio(storage, _file_segments(final), finalized=True)
    chunks = {int(PurePosixPath(info.path).stem): info for info in stored}
    return _from_chunks(storage, recording, chunks) if chunks else None


def _from_chunks(storage: Storage, recording: StoredRecording, chunks: dict[int, ObjectInfo]) -> StoredAudio:
    lost = Segment(CHUNK_SAMPLES * recording.channels, data=bytes([SILENCE_BYTE]) * CHUNK_SAMPLES * recording.channels)
    audio = [_chunk_segment(chunks[number]) if number in chunks else lost for number in range(max(chunks) + 1)]
    size = sum(segment.size for segment in audio)
    header = wav.mulaw_header(size, recording.channels, SAMPLE_RATE)
    padding = [Segment(1, data=b"\0")] * (size % 2)
    return StoredAudio(storage, [Segment(len(header), data=header), *audio, *padding], broken=len(chunks) < len(audio))


def _chunk_segment(stored: ObjectInfo) -> Segment:
    return Segment(stored.size, stored.path)


def _file_segments(stored: ObjectInfo) -> list[Segment]:
    starts = range(0, stored.size, READ_CHUNK_BYTES)
    return [Segment(min(READ_CHUNK_BYTES, stored.size - start), stored.path, start) for start in starts]


def _slice_segments(segments: Sequence[Segment], start: int, end: int) -> list[Segment]:
    """Return the parts of the segments between two offsets of the file."""
    slices, offset = [], 0
    for segment in segments:
        first, last = max(start - offset, 0), min(end - offset, segment.size)
        if first < last:
            slices.append(Segment(last - first, segment.path, segment.start + first, segment.data[first:last]))
        offset += segment.size
    return slices
