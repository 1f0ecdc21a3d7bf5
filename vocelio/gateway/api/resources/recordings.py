"""/v1/recordings."""

import re

from vocelio.gateway.api.framework.operation import Answer, Context
from vocelio.gateway.errors import NotFound
from vocelio.gateway.recordings.stored_audio import Sound
from vocelio.gateway.store import recordings
from vocelio.gateway.store.db.pagination import Items
from vocelio.gateway.store.recordings import Recording, RecordingId, Search

LONGEST_RANGE = 4 * 1024 * 1024  # bytes: four minutes of both sides; a player asks for more when it needs it
WAV = "audio/wav"

_RANGE = re.compile(r"bytes=([0-9]{1,15})-([0-9]{0,15})", re.ASCII)


async def every(context: Context, *, query: Search) -> Items[Recording]:
    """The tenant's recordings, the newest first."""
    return await recordings.every(context.database, context.tenant, query)


async def show(context: Context, *, recording: RecordingId) -> Recording:
    """One recording."""
    return await recordings.find(context.database, context.tenant, recording)


async def audio(context: Context, *, recording: RecordingId) -> Answer[bytes]:
    """The sound, as a WAV file with 8-bit mu-law, as far as it has been written. Who listens is on the trail.

    A header `Range: bytes=START-END` gets that part, or a first part of it.
    """
    kept = await recordings.listened(context.database, context.actor, recording)
    context.place.leave()  # a storage that has stalled holds up its own readers only
    sound = await context.recordings.sound(kept)
    if sound is None:
        raise NotFound
    return _answer(sound, context.range)


async def remove(context: Context, *, recording: RecordingId) -> None:
    """Remove a recording and its sound, for ever."""
    kept = await recordings.removable(context.database, context.tenant, recording)
    context.place.leave()
    await context.recordings.remove(kept)
    await context.place.take()
    await recordings.remove(context.database, context.actor, recording)


def _answer(sound: Sound, wanted: str) -> Answer[bytes]:
    """A range that cannot be is as good as none: RFC 9110, 14.2 lets it be ignored."""
    size = sound.size
    match = _RANGE.fullmatch(wanted)
    first = int(match[1]) if match else 0
    last = min(int(match[2]) if match and match[2] else size - 1, size - 1, first + LONGEST_RANGE - 1)
    if match is None or first > last:
        headers = {"Accept-Ranges": "bytes", "Content-Length": str(size)}
        return Answer(b"", media=WAV, headers=headers, stream=sound.read(0, size))
    headers = {"Content-Range": f"bytes {first}-{last}/{size}", "Content-Length": str(last + 1 - first)}
    return Answer(b"", 206, media=WAV, headers=headers, stream=sound.read(first, last + 1))
