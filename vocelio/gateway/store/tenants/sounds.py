"""A tenant's stored sounds, which its flows play: kept as mu-law, as they go over a telephone line."""

import asyncio
import io
from hashlib import sha256
from typing import Any

import msgspec
from sqlalchemy import Row, delete, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from vocelio.codecs import wav
from vocelio.codecs.mulaw import SAMPLE_RATE
from vocelio.codecs.telephony import MAX_SOUND_BYTES, wav_to_mulaw
from vocelio.engine.diagnostics import Diagnostic
from vocelio.gateway.errors import Conflict, ContentTooLarge, NotFound, UnprocessableContent
from vocelio.gateway.store.audit import Actor
from vocelio.gateway.store.db.database import Database
from vocelio.gateway.store.db.schema import sounds
from vocelio.gateway.store.tenants.tenants import bump_tenant_revision, lock_tenant

MAX_SOUNDS = 200
MAX_SOUND_SECONDS = 300  # music for a queue; it is played again when it has ended
ACCEPTED_SAMPLE_RATES = range(
    4_000, 192_001
)  # outside, a small file could become a huge sound, or a huge file a small one


class Sound(msgspec.Struct, frozen=True):
    """A stored sound: how many ``seconds`` it lasts, and when it was ``changed`` (microseconds UTC)."""

    name: str
    duration_seconds: float
    updated_at: int


async def list_sounds(database: Database, tenant: str) -> list[Sound]:
    """All of a tenant's, by name."""
    length = func.length(sounds.c.mulaw).label("length")
    query = (
        select(sounds.c.name, length, sounds.c.updated_at).where(sounds.c.tenant_id == tenant).order_by(sounds.c.name)
    )
    async with database.read() as connection:
        return [
            Sound(row.name, _duration_seconds(row.length), row.updated_at) for row in await connection.execute(query)
        ]


async def put_sound(database: Database, actor: Actor, name: str, wav_file: bytes) -> Sound:
    """Keep a WAV file's sound. Raises Invalid, TooLarge, and Conflict when there are too many."""
    return await put_mulaw(database, actor, name, await asyncio.to_thread(convert_wav, wav_file))


async def put_mulaw(database: Database, actor: Actor, name: str, mulaw: bytes) -> Sound:
    """Keep a sound that is mu-law already. Raises Conflict when there are too many."""
    async with database.transaction() as connection:
        await lock_tenant(connection, actor.tenant)
        before = await _get_row(connection, actor.tenant, name)
        if before is not None and before.mulaw == mulaw:
            return Sound(name, _duration_seconds(len(mulaw)), before.updated_at)
        query = select(func.count()).select_from(sounds).where(sounds.c.tenant_id == actor.tenant)
        if before is None and (await connection.scalar(query) or 0) >= MAX_SOUNDS:
            raise Conflict(f"There are {MAX_SOUNDS} sounds, which is all there can be. Remove one first.")
        kept = {"mulaw": mulaw, "updated_at": actor.now}
        statement = database.upsert(sounds).values(tenant_id=actor.tenant, name=name, **kept)
        await connection.execute(statement.on_conflict_do_update(index_elements=["tenant_id", "name"], set_=kept))
        await bump_tenant_revision(connection, actor.tenant)
        await actor.audit(connection, "sound.updated", name, before and _audit_view(before.mulaw), _audit_view(mulaw))
    return Sound(name, _duration_seconds(len(mulaw)), actor.now)


async def delete_sound(database: Database, actor: Actor, name: str) -> None:
    """Take it away. Raises NotFound."""
    async with database.transaction() as connection:
        await lock_tenant(connection, actor.tenant)
        before = await _get_row(connection, actor.tenant, name)
        if before is None:
            raise NotFound
        await connection.execute(delete(sounds).where(sounds.c.tenant_id == actor.tenant, sounds.c.name == name))
        await bump_tenant_revision(connection, actor.tenant)
        await actor.audit(connection, "sound.deleted", name, _audit_view(before.mulaw))


async def _get_row(connection: AsyncConnection, tenant: str, name: str) -> Row[Any] | None:
    query = select(sounds).where(sounds.c.tenant_id == tenant, sounds.c.name == name)
    row: Row[Any] | None = (await connection.execute(query)).first()
    return row


def _audit_view(mulaw: bytes) -> dict[str, Any]:
    """A sound for the audit: its length, and a fingerprint."""
    return {"duration_seconds": _duration_seconds(len(mulaw)), "sha256": sha256(mulaw).hexdigest()}


def convert_wav(wav_file: bytes) -> bytes:
    """A WAV file's sound as mu-law. Raises Invalid, TooLarge."""
    if len(wav_file) > MAX_SOUND_BYTES:
        raise ContentTooLarge(f"A sound has at most {MAX_SOUND_BYTES:,} bytes, this one {len(wav_file):,}.")
    try:
        pcm, rate = wav.read(io.BytesIO(wav_file))
    except wav.WavError as error:
        raise _invalid_sound(str(error)) from None
    if rate not in ACCEPTED_SAMPLE_RATES:
        raise _invalid_sound(
            f"a rate of {rate:,} samples a second: "
            f"from {ACCEPTED_SAMPLE_RATES[0]:,} to {ACCEPTED_SAMPLE_RATES[-1]:,} are possible"
        )
    if not 0 < len(pcm) // 2 <= MAX_SOUND_SECONDS * rate:
        raise _invalid_sound(
            f"{len(pcm) / 2 / rate:.0f} seconds long: up to {MAX_SOUND_SECONDS} are possible, and more than none"
        )
    return wav_to_mulaw(wav_file)


def _invalid_sound(message: str) -> UnprocessableContent:
    return UnprocessableContent("This is no sound that can be stored.", [Diagnostic("", "wav", message)])


def _duration_seconds(byte_count: int) -> float:
    return byte_count / SAMPLE_RATE
