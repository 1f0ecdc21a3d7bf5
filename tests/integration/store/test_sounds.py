"""Stored sounds: WAV files become mu-law; unusable and too large files are rejected."""

import io
import struct
import wave

import pytest
from sqlalchemy import select

from tests.support.tenant_fixtures import audit_actions, audit_entries, create_tenant, insert_rows, tenant_revision
from vocelio.gateway.errors import Conflict, InputTooLarge, InvalidInput, NotFound
from vocelio.gateway.store.db.schema import sounds as table
from vocelio.gateway.store.tenants import sounds


def make_wav(seconds=0.5, rate=16_000, channels=1, width=2, level=b"\x10"):
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(channels)
        writer.setsampwidth(width)
        writer.setframerate(rate)
        writer.writeframes(level * (int(seconds * rate) * channels * width))
    return file.getvalue()


async def test_sound_is_stored_as_mulaw_at_8000_hz(database, make_actor):
    harbour = await create_tenant(database, make_actor)
    before = await tenant_revision(database)
    sound = await sounds.put_sound(database, harbour, "welcome", make_wav(0.5, 16_000, channels=2))
    assert (sound.name, round(sound.duration_seconds, 2), sound.updated_at) == ("welcome", 0.5, harbour.now)
    assert await sounds.list_sounds(database, "harbour") == [sound]
    async with database.read() as connection:
        assert len(await connection.scalar(select(table.c.mulaw))) == round(sound.duration_seconds * 8_000)
    assert await tenant_revision(database) == before + 1


async def test_identical_sound_changes_nothing(database, make_actor):
    harbour = await create_tenant(database, make_actor)
    for file in (make_wav(), make_wav(), make_wav(level=b"\x20")):
        await sounds.put_sound(database, harbour, "welcome", file)
    await sounds.delete_sound(database, harbour, "welcome")
    assert await sounds.list_sounds(database, "harbour") == []
    assert [action for action, _ in await audit_actions(database)] == [
        "sound.updated",
        "sound.updated",
        "sound.deleted",
    ]
    assert (await audit_entries(database))[2][2]["duration_seconds"] == pytest.approx(0.5, abs=0.01)


async def test_sound_of_another_tenant_is_not_found(database, make_actor):
    harbour, museum = await create_tenant(database, make_actor), await create_tenant(database, make_actor, "museum")
    await sounds.put_sound(database, harbour, "welcome", make_wav())
    assert await sounds.list_sounds(database, "museum") == []
    with pytest.raises(NotFound):
        await sounds.delete_sound(database, museum, "welcome")
    assert len(await sounds.list_sounds(database, "harbour")) == 1


async def test_number_of_sounds_is_limited(database, make_actor):
    harbour = await create_tenant(database, make_actor)
    row = {"tenant_id": "harbour", "mulaw": b"\xff", "updated_at": 1}
    await insert_rows(database, table, [row | {"name": f"s{place}"} for place in range(199)])
    await sounds.put_sound(database, harbour, "last", make_wav())
    with pytest.raises(Conflict, match="Delete one first"):
        await sounds.put_sound(database, harbour, "one-more", make_wav())
    await sounds.put_sound(database, harbour, "last", make_wav(0.1))


def slow_wav(rate):
    """A WAV file whose header has another sample rate: at 1 Hz its second of audio would become two hours."""
    file = bytearray(make_wav(1, 8_000))
    file[24:28] = struct.pack("<I", rate)
    return bytes(file)


@pytest.mark.parametrize(
    ("file", "message"),
    [
        (b"", "not a PCM WAV"),
        (b"RIFF", "not a PCM WAV"),
        (b"ID3 some other file", "not a PCM WAV"),
        (make_wav(width=1), "8-bit"),
        (make_wav(channels=3), "3 channels"),
        (make_wav(seconds=0), "0 seconds"),
        (make_wav(seconds=301, rate=8_000), "301 seconds"),
        (slow_wav(1), "a rate of 1 "),
        (slow_wav(4_294_967_295), "a rate of 4,294,967,295"),
    ],
)
def test_unusable_file_is_rejected_with_the_reason(file, message):
    with pytest.raises(InvalidInput) as refused:
        sounds.convert_wav(file)
    assert message in refused.value.errors[0].message


def test_too_large_file_is_rejected():
    with pytest.raises(InputTooLarge):
        sounds.convert_wav(bytes(30_000_001))
