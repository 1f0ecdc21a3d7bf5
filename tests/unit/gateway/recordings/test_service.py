"""Recordings from chunks to the final object, whatever the storage does and whenever the process is killed."""

import asyncio

import pytest

from tests.support.recording_env import RecordingEnv
from tests.support.virtual_time import in_virtual_time
from vocelio.codecs.wav import MULAW_HEADER_BYTES, mulaw_header
from vocelio.gateway.recordings import service

SILENCE = b"\xff"
CHUNK_BYTES = 4000


def second_of(byte):
    return byte * 8000


async def stored_audio(env, recording=None):
    """Return the audio as the API serves it."""
    sound = await env.recordings.get_audio(recording or env.stored_recording())
    return None if sound is None else b"".join([part async for part in sound.read(0, sound.size)])


async def test_recording_is_chunked_while_written_and_joined_at_its_end():
    env = RecordingEnv()
    writer = env.start()
    for byte in (b"a", b"b", b"c"):
        writer.add(second_of(byte)[:6000])
    for _ in range(5):  # steps of the loop, until what is full is stored
        await asyncio.sleep(0)
    names = [path.rpartition("/")[2] for path in sorted(env.storage.objects)]
    assert names == [f"{number:06}.ulaw" for number in range(4)]
    assert env.stored_recording().state == "writing"
    assert (await stored_audio(env))[MULAW_HEADER_BYTES:] == b"a" * 6000 + b"b" * 6000 + b"c" * 4000
    writer.close()
    await env.recordings.aclose()
    kept = env.stored_recording()
    assert (kept.state, kept.duration_seconds, kept.size_bytes) == ("complete", 2.25, MULAW_HEADER_BYTES + 18_000)
    assert list(env.storage.objects) == [kept.object_path]
    assert kept.object_path.startswith("recordings/harbour/CA1/")
    assert await stored_audio(env) == mulaw_header(18_000, 1, 8000) + b"a" * 6000 + b"b" * 6000 + b"c" * 6000
    assert env.failures == []


async def test_odd_number_of_bytes_is_padded():
    env = RecordingEnv()
    writer = env.start()
    writer.add(b"a" * 4001)
    writer.close()
    await env.recordings.aclose()
    assert len(env.storage.objects[env.stored_recording().object_path]) == MULAW_HEADER_BYTES + 4002
    assert env.stored_recording().duration_seconds == pytest.approx(4001 / 8000, abs=0.001)


@pytest.mark.parametrize("whole", [True, False])
async def test_any_range_can_be_read(whole):
    env = RecordingEnv()
    writer = env.start("call")
    writer.add(bytes(range(256)) * 125)
    if whole:
        writer.close()
    await env.recordings.aclose()
    file, sound = await stored_audio(env), await env.recordings.get_audio(env.stored_recording())
    assert sound.size == len(file) == MULAW_HEADER_BYTES + 32_000
    for start, end in ((0, 10), (50, 70), (58, 8058), (7000, 20_000), (60, 60), (32_000, 40_000)):
        assert b"".join([part async for part in sound.read(start, end)]) == file[start:end]


@in_virtual_time
async def test_short_storage_outage_loses_nothing():
    env = RecordingEnv()
    env.storage.is_unavailable = True
    writer = env.start()
    for byte in (b"a", b"b", b"c", b"d"):
        writer.add(second_of(byte))
        await asyncio.sleep(1)
    assert env.storage.objects == {}
    assert env.storage.put_count < 12, "one knocks for all"
    env.storage.is_unavailable = False
    writer.close()
    await asyncio.sleep(2)
    assert (await stored_audio(env))[MULAW_HEADER_BYTES:] == b"".join(map(second_of, (b"a", b"b", b"c", b"d")))
    assert (env.stored_recording().state, env.failures) == ("complete", [])


@in_virtual_time
async def test_long_storage_outage_breaks_the_recording_only():
    env = RecordingEnv(stored=5 * CHUNK_BYTES)
    env.storage.is_unavailable = True
    writer = env.start()
    for _ in range(30):
        writer.add(second_of(b"a"))
        await asyncio.sleep(1)
    assert env.recordings.chunk_queue.queued_bytes <= 5 * CHUNK_BYTES
    assert env.recordings.chunk_queue.dropped == 55
    assert env.failures == ["the storage did not accept it in time"], "told once"
    env.storage.is_unavailable = False
    writer.add(second_of(b"b"))
    writer.close()
    await asyncio.sleep(2)
    kept, sound = env.stored_recording(), (await stored_audio(env))[MULAW_HEADER_BYTES:]
    assert kept.state == "broken"
    assert kept.duration_seconds == 31
    assert sound.startswith(SILENCE * 8000)
    assert sound.endswith(second_of(b"b")), "what is there is in its place"


@in_virtual_time
async def test_stalled_storage_does_not_block_calls():
    env = RecordingEnv()
    env.storage.stall_seconds = 5.0
    writer = env.start()
    began = asyncio.get_running_loop().time()
    for _ in range(100):
        writer.add(second_of(b"a"))
    writer.close()
    assert asyncio.get_running_loop().time() == began
    assert len(asyncio.all_tasks()) <= service.CHUNK_WRITE_CONCURRENCY + service.ROW_WRITE_CONCURRENCY + 1
    await env.recordings.aclose()
    await asyncio.sleep(0)


@in_virtual_time
async def test_sweep_of_another_process_finalizes_stale_recordings():
    env = RecordingEnv()
    writer = env.start("call")
    for _ in range(9):
        writer.add(b"lr" * 2000)
    await asyncio.sleep(0.1)  # and there it dies: the last 0.25 s are in memory only
    other = env.restart(60)
    await other.recordings.finalize_stale()
    assert env.stored_recording().state == "writing", "it may be alive"
    other = env.restart(301)
    await other.recordings.finalize_stale()
    kept = other.stored_recording()
    assert (kept.state, kept.duration_seconds) == ("complete", 2.0)
    assert list(other.storage.objects) == [kept.object_path]
    assert (await stored_audio(other))[MULAW_HEADER_BYTES:] == b"lr" * 16_000
    before = dict(other.storage.objects)
    await other.recordings.finalize_stale()
    assert other.storage.objects == before
    await env.recordings.aclose()


@in_virtual_time
async def test_sweep_skips_recordings_in_progress():
    env = RecordingEnv()
    writer = env.start()
    writer.add(second_of(b"a"))
    await asyncio.sleep(400)
    await env.recordings.finalize_stale()
    assert env.stored_recording().state == "writing"
    writer.close()
    await env.recordings.aclose()
    assert env.stored_recording().state == "complete"


@pytest.mark.parametrize("left", [0, 2])
async def test_interrupted_finalization_is_completed(left):
    """The final object was written, and some or all chunks were deleted."""
    env = RecordingEnv()
    writer = env.start()
    writer.add(second_of(b"a") * 2)
    await env.recordings.aclose()
    pieces = dict(env.storage.objects)
    kept, file = env.stored_recording(), await stored_audio(env)
    folder = next(iter(pieces)).rpartition("/")[0]
    await env.storage.delete(list(pieces)[left:])
    await env.storage.put(f"{folder}/audio.wav", file)
    await env.restart(301).recordings.finalize_stale()
    assert await stored_audio(env, kept) == file
    assert list(env.storage.objects) == [env.stored_recording().object_path]
    assert (env.stored_recording().state, env.stored_recording().duration_seconds) == ("complete", 2.0)


@in_virtual_time
async def test_recording_without_chunks_is_broken():
    env = RecordingEnv()
    env.start()
    await asyncio.sleep(0.1)
    await env.restart(301).recordings.finalize_stale()
    assert (
        env.stored_recording().state,
        env.stored_recording().duration_seconds,
        env.stored_recording().object_path,
    ) == (
        "broken",
        0.0,
        "",
    )
    assert await stored_audio(env) is None


@in_virtual_time
async def test_sweep_runs_periodically_until_closed():
    env = RecordingEnv()
    writer = env.start()
    writer.add(second_of(b"a"))
    await asyncio.sleep(0.1)
    other = env.restart(0)
    await other.recordings.start()
    await asyncio.sleep(500)
    assert env.stored_recording().state == "complete"
    await other.recordings.aclose()
    await env.recordings.aclose()


async def test_delete_removes_the_audio_of_one_recording():
    env = RecordingEnv()
    tapes = [env.start(), env.start()]
    for writer in tapes:
        writer.add(second_of(b"a"))
        writer.close()
    await env.recordings.aclose()
    first, second_one = env.catalogue.recordings.values()
    await env.recordings.delete_audio(first)
    assert list(env.storage.objects) == [second_one.object_path]
    assert await env.recordings.get_audio(first) is None
