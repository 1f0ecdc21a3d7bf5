"""Stored sounds that flows play, as mu-law, ready for the phone line."""

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
from vocelio.gateway.clock import Instant
from vocelio.gateway.errors import InputTooLarge, InvalidInput, NotFound, QuotaExceeded
from vocelio.gateway.store.audit import Actor
from vocelio.gateway.store.db.database import Database
from vocelio.gateway.store.db.schema import sounds
from vocelio.gateway.store.tenants.tenants import bump_tenant_revision, lock_tenant

MAX_SOUNDS = 200  # of a tenant
MAX_SOUND_SECONDS = 300  # queue music; it is repeated
# Outside, a small file could become a huge sound, or a huge file a small one.
ACCEPTED_SAMPLE_RATES = range(4_000, 192_001)


class Sound(msgspec.Struct, frozen=True):
    """A stored sound with its duration and the time of its last change (microseconds UTC)."""

    name: str
    duration_seconds: float
    updated_at: Instant


async def list_sounds(database: Database, tenant: str) -> list[Sound]:
    """List a tenant's sounds, by name."""
    length = func.length(sounds.c.mulaw).label("length")
    query = (
        select(sounds.c.name, length, sounds.c.updated_at).where(sounds.c.tenant_id == tenant).order_by(sounds.c.name)
    )
    async with database.read() as connection:
        return [
            Sound(row.name, _duration_seconds(row.length), Instant(row.updated_at))
            for row in await connection.execute(query)
        ]


async def get_mulaw(database: Database, tenant: str, name: str) -> bytes | None:
    """Return a sound's audio; None if there is no such sound."""
    async with database.read() as connection:
        row = await _get_row(connection, tenant, name)
    return None if row is None else row.mulaw


async def put_sound(database: Database, actor: Actor, name: str, wav_file: bytes) -> Sound:
    """Store a WAV file. Raises InvalidInput, InputTooLarge, QuotaExceeded."""
    return await put_mulaw(database, actor, name, await asyncio.to_thread(convert_wav, wav_file))


async def put_mulaw(database: Database, actor: Actor, name: str, mulaw: bytes) -> Sound:
    """Store a sound that is mu-law already. Raises QuotaExceeded."""
    async with database.transaction() as connection:
        await lock_tenant(connection, actor.tenant)
        before = await _get_row(connection, actor.tenant, name)
        if before is not None and before.mulaw == mulaw:
            return Sound(name, _duration_seconds(len(mulaw)), Instant(before.updated_at))
        query = select(func.count()).select_from(sounds).where(sounds.c.tenant_id == actor.tenant)
        if before is None and (await connection.scalar(query) or 0) >= MAX_SOUNDS:
            raise QuotaExceeded(f"A tenant can have at most {MAX_SOUNDS} sounds. Delete one first.")
        values = {"mulaw": mulaw, "updated_at": actor.now}
        statement = database.upsert(sounds).values(tenant_id=actor.tenant, name=name, **values)
        await connection.execute(statement.on_conflict_do_update(index_elements=["tenant_id", "name"], set_=values))
        await bump_tenant_revision(connection, actor.tenant)
        await actor.audit(connection, "sound.updated", name, before and _audit_view(before.mulaw), _audit_view(mulaw))
    return Sound(name, _duration_seconds(len(mulaw)), Instant(actor.now))


async def delete_sound(database: Database, actor: Actor, name: str) -> None:
    """Delete a sound. Raises NotFound."""
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
    """Return what the audit log has of a sound: its duration and a hash."""
    return {"duration_seconds": _duration_seconds(len(mulaw)), "sha256": sha256(mulaw).hexdigest()}


def convert_wav(wav_file: bytes) -> bytes:
    """Convert a WAV file to mu-law. Raises InvalidInput, InputTooLarge."""
    if len(wav_file) > MAX_SOUND_BYTES:
        raise InputTooLarge(f"A sound has at most {MAX_SOUND_BYTES:,} bytes; this one has {len(wav_file):,}.")
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
            f"{len(pcm) / 2 / rate:.0f} seconds long; accepted are more than 0 and up to {MAX_SOUND_SECONDS}"
        )
    return wav_to_mulaw(wav_file)


def _invalid_sound(message: str) -> InvalidInput:
    return InvalidInput("Not a usable sound file.", [Diagnostic("", "wav", message)])


def _duration_seconds(byte_count: int) -> float:
    return byte_count / SAMPLE_RATE
