"""From pieces to a whole: whatever the storage does, and whenever the process dies."""

import asyncio

import pytest

from tests.unit.gateway.recordings.deck import Desk
from tests.virtual_time import in_virtual_time
from vocelio.codecs.wav import MULAW_HEADER, mulaw_header
from vocelio.gateway.recordings import service

HUSH = b"\xff"
PIECE = 4000


def second(byte):
    return byte * 8000


async def heard(desk, recording=None):
    """Its sound, as the API has it."""
    sound = await desk.recordings.sound(recording or desk.kept())
    return None if sound is None else b"".join([part async for part in sound.read(0, sound.size)])


async def test_a_recording_is_in_pieces_while_it_is_made_and_one_object_then():
    desk = Desk()
    tape = desk.begin()
    for byte in (b"a", b"b", b"c"):
        tape.add(second(byte)[:6000])
    for _ in range(5):  # steps of the loop, until what is full is stored
        await asyncio.sleep(0)
    names = [path.rpartition("/")[2] for path in sorted(desk.storage.objects)]
    assert names == [f"{number:06}.ulaw" for number in range(4)]
    assert desk.kept().state == "writing"
    assert (await heard(desk))[MULAW_HEADER:] == b"a" * 6000 + b"b" * 6000 + b"c" * 4000
    tape.end()
    await desk.recordings.aclose()
    kept = desk.kept()
    assert (kept.state, kept.seconds, kept.bytes) == ("complete", 2.25, MULAW_HEADER + 18_000)
    assert list(desk.storage.objects) == [kept.object]
    assert kept.object.startswith("recordings/harbour/CA1/")
    assert await heard(desk) == mulaw_header(18_000, 1, 8000) + b"a" * 6000 + b"b" * 6000 + b"c" * 6000
    assert desk.failures == []


async def test_an_odd_number_of_bytes_is_padded():
    desk = Desk()
    tape = desk.begin()
    tape.add(b"a" * 4001)
    tape.end()
    await desk.recordings.aclose()
    assert len(desk.storage.objects[desk.kept().object]) == MULAW_HEADER + 4002
    assert desk.kept().seconds == pytest.approx(4001 / 8000, abs=0.001)


@pytest.mark.parametrize("whole", [True, False])
async def test_any_part_of_it_can_be_read(whole):
    desk = Desk()
    tape = desk.begin("call")
    tape.add(bytes(range(256)) * 125)
    if whole:
        tape.end()
    await desk.recordings.aclose()
    file, sound = await heard(desk), await desk.recordings.sound(desk.kept())
    assert sound.size == len(file) == MULAW_HEADER + 32_000
    for start, end in ((0, 10), (50, 70), (58, 8058), (7000, 20_000), (60, 60), (32_000, 40_000)):
        assert b"".join([part async for part in sound.read(start, end)]) == file[start:end]


@in_virtual_time
async def test_a_storage_that_is_away_for_a_while_loses_nothing():
    desk = Desk()
    desk.storage.away = True
    tape = desk.begin()
    for byte in (b"a", b"b", b"c", b"d"):
        tape.add(second(byte))
        await asyncio.sleep(1)
    assert desk.storage.objects == {}
    assert desk.storage.asked < 12, "one knocks for all"
    desk.storage.away = False
    tape.end()
    await asyncio.sleep(2)
    assert (await heard(desk))[MULAW_HEADER:] == b"".join(map(second, (b"a", b"b", b"c", b"d")))
    assert (desk.kept().state, desk.failures) == ("complete", [])


@in_virtual_time
async def test_a_storage_that_stays_away_costs_sound_and_nothing_else():
    desk = Desk(held=5 * PIECE)
    desk.storage.away = True
    tape = desk.begin()
    for _ in range(30):
        tape.add(second(b"a"))
        await asyncio.sleep(1)
    assert desk.recordings.pieces.held <= 5 * PIECE
    assert desk.recordings.pieces.dropped == 55
    assert desk.failures == ["the storage has not taken it in time"], "told once"
    desk.storage.away = False
    tape.add(second(b"b"))
    tape.end()
    await asyncio.sleep(2)
    kept, sound = desk.kept(), (await heard(desk))[MULAW_HEADER:]
    assert kept.state == "broken"
    assert kept.seconds == 31
    assert sound.startswith(HUSH * 8000)
    assert sound.endswith(second(b"b")), "what is there is in its place"


@in_virtual_time
async def test_a_storage_that_stalls_holds_nobody_up():
    desk = Desk()
    desk.storage.stall = 5.0
    tape = desk.begin()
    began = asyncio.get_running_loop().time()
    for _ in range(100):
        tape.add(second(b"a"))
    tape.end()
    assert asyncio.get_running_loop().time() == began
    assert len(asyncio.all_tasks()) <= service.WRITERS + service.ROW_WRITERS + 1
    await desk.recordings.aclose()
    await asyncio.sleep(0)


@in_virtual_time
async def test_what_a_dead_process_left_is_joined_by_the_sweep_of_another():
    desk = Desk()
    tape = desk.begin("call")
    for _ in range(9):
        tape.add(b"lr" * 2000)
    await asyncio.sleep(0.1)  # and there it dies: the last 0.25 s are in memory only
    other = desk.restarted(60)
    await other.recordings.sweep()
    assert desk.kept().state == "writing", "it may be alive"
    other = desk.restarted(301)
    await other.recordings.sweep()
    kept = other.kept()
    assert (kept.state, kept.seconds) == ("complete", 2.0)
    assert list(other.storage.objects) == [kept.object]
    assert (await heard(other))[MULAW_HEADER:] == b"lr" * 16_000
    before = dict(other.storage.objects)
    await other.recordings.sweep()
    assert other.storage.objects == before
    await desk.recordings.aclose()


@in_virtual_time
async def test_a_sweep_leaves_alone_what_its_own_process_is_making():
    desk = Desk()
    tape = desk.begin()
    tape.add(second(b"a"))
    await asyncio.sleep(400)
    await desk.recordings.sweep()
    assert desk.kept().state == "writing"
    tape.end()
    await desk.recordings.aclose()
    assert desk.kept().state == "complete"


@pytest.mark.parametrize("left", [0, 2])
async def test_a_process_that_dies_while_it_joins(left):
    """The whole was written, and some of the pieces, or all, are gone."""
    desk = Desk()
    tape = desk.begin()
    tape.add(second(b"a") * 2)
    await desk.recordings.aclose()
    pieces = dict(desk.storage.objects)
    kept, file = desk.kept(), await heard(desk)
    folder = next(iter(pieces)).rpartition("/")[0]
    await desk.storage.delete(list(pieces)[left:])
    await desk.storage.put(f"{folder}/audio.wav", file)
    await desk.restarted(301).recordings.sweep()
    assert await heard(desk, kept) == file
    assert list(desk.storage.objects) == [desk.kept().object]
    assert (desk.kept().state, desk.kept().seconds) == ("complete", 2.0)


@in_virtual_time
async def test_of_which_nothing_was_written_is_broken():
    desk = Desk()
    desk.begin()
    await asyncio.sleep(0.1)
    await desk.restarted(301).recordings.sweep()
    assert (desk.kept().state, desk.kept().seconds, desk.kept().object) == ("broken", 0.0, "")
    assert await heard(desk) is None


@in_virtual_time
async def test_the_sweep_goes_on_for_ever_and_ends_with_the_process():
    desk = Desk()
    tape = desk.begin()
    tape.add(second(b"a"))
    await asyncio.sleep(0.1)
    other = desk.restarted(0)
    await other.recordings.start()
    await asyncio.sleep(500)
    assert desk.kept().state == "complete"
    await other.recordings.aclose()
    await desk.recordings.aclose()


async def test_removing_one_removes_its_sound_and_no_other():
    desk = Desk()
    tapes = [desk.begin(), desk.begin()]
    for tape in tapes:
        tape.add(second(b"a"))
        tape.end()
    await desk.recordings.aclose()
    first, second_one = desk.catalogue.recordings.values()
    await desk.recordings.remove(first)
    assert list(desk.storage.objects) == [second_one.object]
    assert await desk.recordings.sound(first) is None
