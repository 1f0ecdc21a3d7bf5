"""/v1/recordings: the catalog of recordings, and their audio with byte ranges."""

import re

from vocelio.gateway.api.framework.operation import ApiResponse, RequestContext
from vocelio.gateway.errors import NotFound
from vocelio.gateway.recordings.stored_audio import StoredAudio
from vocelio.gateway.store import recordings
from vocelio.gateway.store.db.pagination import Page
from vocelio.gateway.store.recordings import Recording, RecordingId, RecordingQuery

MAX_RANGE_BYTES = 4 * 1024 * 1024  # four minutes of stereo; a player requests more when it needs it
WAV = "audio/wav"

_RANGE = re.compile(r"bytes=([0-9]{1,15})-([0-9]{0,15})", re.ASCII)


async def list_recordings(context: RequestContext, *, query: RecordingQuery) -> Page[Recording]:
    """List the tenant's recordings, newest first."""
    return await recordings.list_recordings(context.database, context.tenant, query)


async def get_recording(context: RequestContext, *, recording: RecordingId) -> Recording:
    """Get a recording's catalog entry."""
    return await recordings.get_recording(context.database, context.tenant, recording)


async def get_recording_audio(context: RequestContext, *, recording: RecordingId) -> ApiResponse[bytes]:
    """Get the audio as a WAV file with 8-bit mu-law, as far as it has been written. Each access is audited.

    With a header `Range: bytes=START-END` the response is that range, or its beginning.
    """
    entry = await recordings.audit_access(context.database, context.actor, recording)
    audio = await context.recordings.get_audio(entry)
    if audio is None:
        raise NotFound
    return _audio_response(audio, context.range_header, f'attachment; filename="{recording}.wav"')


async def delete_recording(context: RequestContext, *, recording: RecordingId) -> None:
    """Delete a recording and its audio permanently."""
    entry = await recordings.get_deletable(context.database, context.tenant, recording)
    await context.recordings.delete_audio(entry)
    await recordings.delete_recording(context.database, context.actor, recording)


def _audio_response(audio: StoredAudio, range_header: str, disposition: str) -> ApiResponse[bytes]:
    """Answer with the requested range, or with everything if there is none or it is invalid (RFC 9110, 14.2)."""
    size = audio.size
    match = _RANGE.fullmatch(range_header)
    first = int(match[1]) if match else 0
    last = min(int(match[2]) if match and match[2] else size - 1, size - 1, first + MAX_RANGE_BYTES - 1)
    if match is None or first > last:
        headers = {"Accept-Ranges": "bytes", "Content-Length": str(size), "Content-Disposition": disposition}
        return ApiResponse(b"", media_type=WAV, headers=headers, stream=audio.read(0, size))
    headers = {
        "Content-Range": f"bytes {first}-{last}/{size}",
        "Content-Length": str(last + 1 - first),
        "Content-Disposition": disposition,
    }
    return ApiResponse(b"", 206, media_type=WAV, headers=headers, stream=audio.read(first, last + 1))
