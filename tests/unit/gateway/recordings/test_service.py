"""From pieces to a whole: whatever the storage does, and whenever the process dies."""

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


async def stored_audio(desk, recording=None):
    """Its sound, as the API has it."""
    sound = await desk.recordings.get_audio(recording or desk.stored_recording())
    return None if sound is None else b"".join([part async for part in sound.read(0, sound.size)])


async def test_a_recording_is_in_pieces_while_it_is_made_and_one_object_then():
    desk = RecordingEnv()
    tape = desk.start()
    for byte in (b"a", b"b", b"c"):
        tape.add(second_of(byte)[:6000])
    for _ in range(5):  # steps of the loop, until what is full is stored
        await asyncio.sleep(0)
    names = [path.rpartition("/")[2] for path in sorted(desk.storage.objects)]
    assert names == [f"{number:06}.ulaw" for number in range(4)]
    assert desk.stored_recording().state == "writing"
    assert (await stored_audio(desk))[MULAW_HEADER_BYTES:] == b"a" * 6000 + b"b" * 6000 + b"c" * 4000
    tape.close()
    await desk.recordings.aclose()
    kept = desk.stored_recording()
    assert (kept.state, kept.duration_seconds, kept.size_bytes) == ("complete", 2.25, MULAW_HEADER_BYTES + 18_000)
    assert list(desk.storage.objects) == [kept.object_path]
    assert kept.object_path.startswith("recordings/harbour/CA1/")
    assert await stored_audio(desk) == mulaw_header(18_000, 1, 8000) + b"a" * 6000 + b"b" * 6000 + b"c" * 6000
    assert desk.failures == []


async def test_an_odd_number_of_bytes_is_padded():
    desk = RecordingEnv()
    tape = desk.start()
    tape.add(b"a" * 4001)
    tape.close()
    await desk.recordings.aclose()
    assert len(desk.storage.objects[desk.stored_recording().object_path]) == MULAW_HEADER_BYTES + 4002
    assert desk.stored_recording().duration_seconds == pytest.approx(4001 / 8000, abs=0.001)


@pytest.mark.parametrize("whole", [True, False])
async def test_any_part_of_it_can_be_read(whole):
    desk = RecordingEnv()
    tape = desk.start("call")
    tape.add(bytes(range(256)) * 125)
    if whole:
        tape.close()
    await desk.recordings.aclose()
    file, sound = await stored_audio(desk), await desk.recordings.get_audio(desk.stored_recording())
    assert sound.size == len(file) == MULAW_HEADER_BYTES + 32_000
    for start, end in ((0, 10), (50, 70), (58, 8058), (7000, 20_000), (60, 60), (32_000, 40_000)):
        assert b"".join([part async for part in sound.read(start, end)]) == file[start:end]


@in_virtual_time
async def test_a_storage_that_is_away_for_a_while_loses_nothing():
    desk = RecordingEnv()
    desk.storage.is_unavailable = True
    tape = desk.start()
    for byte in (b"a", b"b", b"c", b"d"):
        tape.add(second_of(byte))
        await asyncio.sleep(1)
    assert desk.storage.objects == {}
    assert desk.storage.put_count < 12, "one knocks for all"
    desk.storage.is_unavailable = False
    tape.close()
    await asyncio.sleep(2)
    assert (await stored_audio(desk))[MULAW_HEADER_BYTES:] == b"".join(map(second_of, (b"a", b"b", b"c", b"d")))
    assert (desk.stored_recording().state, desk.failures) == ("complete", [])


@in_virtual_time
async def test_a_storage_that_stays_away_costs_sound_and_nothing_else():
    desk = RecordingEnv(held=5 * CHUNK_BYTES)
    desk.storage.is_unavailable = True
    tape = desk.start()
    for _ in range(30):
        tape.add(second_of(b"a"))
        await asyncio.sleep(1)
    assert desk.recordings.chunk_queue.queued_bytes <= 5 * CHUNK_BYTES
    assert desk.recordings.chunk_queue.dropped == 55
    assert desk.failures == ["the storage did not accept it in time"], "told once"
    desk.storage.is_unavailable = False
    tape.add(second_of(b"b"))
    tape.close()
    await asyncio.sleep(2)
    kept, sound = desk.stored_recording(), (await stored_audio(desk))[MULAW_HEADER_BYTES:]
    assert kept.state == "broken"
    assert kept.duration_seconds == 31
    assert sound.startswith(SILENCE * 8000)
    assert sound.endswith(second_of(b"b")), "what is there is in its place"


@in_virtual_time
async def test_a_storage_that_stalls_holds_nobody_up():
    desk = RecordingEnv()
    desk.storage.stall_seconds = 5.0
    tape = desk.start()
    began = asyncio.get_running_loop().time()
    for _ in range(100):
        tape.add(second_of(b"a"))
    tape.close()
    assert asyncio.get_running_loop().time() == began
    assert len(asyncio.all_tasks()) <= service.CHUNK_WRITE_CONCURRENCY + service.ROW_WRITE_CONCURRENCY + 1
    await desk.recordings.aclose()
    await asyncio.sleep(0)


@in_virtual_time
async def test_what_a_dead_process_left_is_joined_by_the_sweep_of_another():
    desk = RecordingEnv()
    tape = desk.start("call")
    for _ in range(9):
        tape.add(b"lr" * 2000)
    await asyncio.sleep(0.1)  # and there it dies: the last 0.25 s are in memory only
    other = desk.restart(60)
    await other.recordings.finalize_stale()
    assert desk.stored_recording().state == "writing", "it may be alive"
    other = desk.restart(301)
    await other.recordings.finalize_stale()
    kept = other.stored_recording()
    assert (kept.state, kept.duration_seconds) == ("complete", 2.0)
    assert list(other.storage.objects) == [kept.object_path]
    assert (await stored_audio(other))[MULAW_HEADER_BYTES:] == b"lr" * 16_000
    before = dict(other.storage.objects)
    await other.recordings.finalize_stale()
    assert other.storage.objects == before
    await desk.recordings.aclose()


@in_virtual_time
async def test_a_sweep_leaves_alone_what_its_own_process_is_making():
    desk = RecordingEnv()
    tape = desk.start()
    tape.add(second_of(b"a"))
    await asyncio.sleep(400)
    await desk.recordings.finalize_stale()
    assert desk.stored_recording().state == "writing"
    tape.close()
    await desk.recordings.aclose()
    assert desk.stored_recording().state == "complete"


@pytest.mark.parametrize("left", [0, 2])
async def test_a_process_that_dies_while_it_joins(left):
    """The whole was written, and some of the pieces, or all, are gone."""
    desk = RecordingEnv()
    tape = desk.start()
    tape.add(second_of(b"a") * 2)
    await desk.recordings.aclose()
    pieces = dict(desk.storage.objects)
    kept, file = desk.stored_recording(), await stored_audio(desk)
    folder = next(iter(pieces)).rpartition("/")[0]
    await desk.storage.delete(list(pieces)[left:])
    await desk.storage.put(f"{folder}/audio.wav", file)
    await desk.restart(301).recordings.finalize_stale()
    assert await stored_audio(desk, kept) == file
    assert list(desk.storage.objects) == [desk.stored_recording().object_path]
    assert (desk.stored_recording().state, desk.stored_recording().duration_seconds) == ("complete", 2.0)


@in_virtual_time
async def test_of_which_nothing_was_written_is_broken():
    desk = RecordingEnv()
    desk.start()
    await asyncio.sleep(0.1)
    await desk.restart(301).recordings.finalize_stale()
    assert (
        desk.stored_recording().state,
        desk.stored_recording().duration_seconds,
        desk.stored_recording().object_path,
    ) == (
        "broken",
        0.0,
        "",
    )
    assert await stored_audio(desk) is None


@in_virtual_time
async def test_the_sweep_goes_on_for_ever_and_ends_with_the_process():
    desk = RecordingEnv()
    tape = desk.start()
    tape.add(second_of(b"a"))
    await asyncio.sleep(0.1)
    other = desk.restart(0)
    await other.recordings.start()
    await asyncio.sleep(500)
    assert desk.stored_recording().state == "complete"
    await other.recordings.aclose()
    await desk.recordings.aclose()


async def test_removing_one_removes_its_sound_and_no_other():
    desk = RecordingEnv()
    tapes = [desk.start(), desk.start()]
    for tape in tapes:
        tape.add(second_of(b"a"))
        tape.close()
    await desk.recordings.aclose()
    first, second_one = desk.catalogue.recordings.values()
    await desk.recordings.delete_audio(first)
    assert list(desk.storage.objects) == [second_one.object_path]
    assert await desk.recordings.get_audio(first) is None
