"""Stored sounds: what is put as WAV is kept as it goes over a line; what would be too much is refused at once."""

import io
import struct
import wave

import pytest
from sqlalchemy import select

from tests.integration.store.things import actions, fill_up, revision, tenant, trail
from vocelio.gateway.errors import Conflict, Invalid, NotFound, TooLarge
from vocelio.gateway.store.db.schema import sounds as table
from vocelio.gateway.store.tenants import sounds


def wav(seconds=0.5, rate=16_000, channels=1, width=2, level=b"\x10"):
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(channels)
        writer.setsampwidth(width)
        writer.setframerate(rate)
        writer.writeframes(level * (int(seconds * rate) * channels * width))
    return file.getvalue()


async def test_a_sound_is_kept_as_mulaw_at_8000_samples_a_second(database, actor):
    harbour = await tenant(database, actor)
    before = await revision(database)
    kept = await sounds.put(database, harbour, "welcome", wav(0.5, 16_000, channels=2))
    assert (kept.name, round(kept.seconds, 2), kept.changed) == ("welcome", 0.5, harbour.at)
    assert await sounds.every(database, "harbour") == [kept]
    async with database.reading() as connection:
        assert len(await connection.scalar(select(table.c.mulaw))) == round(kept.seconds * 8_000)
    assert await revision(database) == before + 1


async def test_the_same_sound_again_changes_nothing_and_another_one_does(database, actor):
    harbour = await tenant(database, actor)
    for file in (wav(), wav(), wav(level=b"\x20")):
        await sounds.put(database, harbour, "welcome", file)
    await sounds.remove(database, harbour, "welcome")
    assert await sounds.every(database, "harbour") == []
    assert [action for action, _ in await actions(database)] == ["sound.changed", "sound.changed", "sound.removed"]
    assert (await trail(database))[2][2]["seconds"] == pytest.approx(0.5, abs=0.01)


async def test_another_tenants_sound_is_not_there(database, actor):
    harbour, museum = await tenant(database, actor), await tenant(database, actor, "museum")
    await sounds.put(database, harbour, "welcome", wav())
    assert await sounds.every(database, "museum") == []
    with pytest.raises(NotFound):
        await sounds.remove(database, museum, "welcome")
    assert len(await sounds.every(database, "harbour")) == 1


async def test_sounds_are_bounded(database, actor):
    harbour = await tenant(database, actor)
    row = {"tenant_id": "harbour", "mulaw": b"\xff", "changed": 1}
    await fill_up(database, table, [row | {"name": f"s{place}"} for place in range(199)])
    await sounds.put(database, harbour, "last", wav())
    with pytest.raises(Conflict, match="Remove one first"):
        await sounds.put(database, harbour, "one-more", wav())
    await sounds.put(database, harbour, "last", wav(0.1))


def slow(rate):
    """A WAV that says it has ``rate`` samples a second: at 1 its second of sound would become two hours."""
    file = bytearray(wav(1, 8_000))
    file[24:28] = struct.pack("<I", rate)
    return bytes(file)


@pytest.mark.parametrize(
    ("file", "message"),
    [
        (b"", "not a PCM WAV"),
        (b"RIFF", "not a PCM WAV"),
        (b"ID3 some other file", "not a PCM WAV"),
        (wav(width=1), "8-bit"),
        (wav(channels=3), "3 channels"),
        (wav(seconds=0), "0 seconds"),
        (wav(seconds=301, rate=8_000), "301 seconds"),
        (slow(1), "a rate of 1 "),
        (slow(4_294_967_295), "a rate of 4,294,967,295"),
    ],
)
def test_what_is_no_sound_is_refused_with_the_reason(file, message):
    with pytest.raises(Invalid) as refused:
        sounds.converted(file)
    assert message in refused.value.errors[0].message


def test_a_file_that_is_too_large_is_refused():
    with pytest.raises(TooLarge):
        sounds.converted(bytes(30_000_001))
