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
from vocelio.codecs.telephony import MAX_SOUND, telephone
from vocelio.engine.diagnostics import Problem
from vocelio.gateway.errors import Conflict, Invalid, NotFound, TooLarge
from vocelio.gateway.store.audit.actor import Actor
from vocelio.gateway.store.db.database import Database
from vocelio.gateway.store.db.schema import sounds
from vocelio.gateway.store.tenants.departments import hold, touch

MAX_SOUNDS = 200
MAX_SECONDS = 300  # music for a queue; it is played again when it has ended
RATES = range(4_000, 192_001)  # outside, a small file could become a huge sound, or a huge file a small one


class Sound(msgspec.Struct, frozen=True):
    """A stored sound: how many ``seconds`` it lasts, and when it was ``changed`` (microseconds UTC)."""

    name: str
    seconds: float
    changed: int


async def every(database: Database, tenant: str) -> list[Sound]:
    """All of a tenant's, by name."""
    length = func.length(sounds.c.mulaw).label("length")
    query = select(sounds.c.name, length, sounds.c.changed).where(sounds.c.tenant_id == tenant).order_by(sounds.c.name)
    async with database.reading() as connection:
        return [Sound(row.name, _seconds(row.length), row.changed) for row in await connection.execute(query)]


async def put(database: Database, actor: Actor, name: str, file: bytes) -> Sound:
    """Keep a WAV file's sound. Raises Invalid, TooLarge, and Conflict when there are too many."""
    return await keep(database, actor, name, await asyncio.to_thread(converted, file))


async def keep(database: Database, actor: Actor, name: str, mulaw: bytes) -> Sound:
    """Keep a sound that is mu-law already. Raises Conflict when there are too many."""
    async with database.writing() as connection:
        await hold(connection, actor.tenant)
        before = await _read(connection, actor.tenant, name)
        if before is not None and before.mulaw == mulaw:
            return Sound(name, _seconds(len(mulaw)), before.changed)
        query = select(func.count()).select_from(sounds).where(sounds.c.tenant_id == actor.tenant)
        if before is None and (await connection.scalar(query) or 0) >= MAX_SOUNDS:
            raise Conflict(f"There are {MAX_SOUNDS} sounds, which is all there can be. Remove one first.")
        kept = {"mulaw": mulaw, "changed": actor.at}
        statement = database.upsert(sounds).values(tenant_id=actor.tenant, name=name, **kept)
        await connection.execute(statement.on_conflict_do_update(index_elements=["tenant_id", "name"], set_=kept))
        await touch(connection, actor.tenant)
        await actor.record(connection, "sound.changed", name, before and _trail(before.mulaw), _trail(mulaw))
    return Sound(name, _seconds(len(mulaw)), actor.at)


async def remove(database: Database, actor: Actor, name: str) -> None:
    """Take it away. Raises NotFound."""
    async with database.writing() as connection:
        await hold(connection, actor.tenant)
        before = await _read(connection, actor.tenant, name)
        if before is None:
            raise NotFound
        await connection.execute(delete(sounds).where(sounds.c.tenant_id == actor.tenant, sounds.c.name == name))
        await touch(connection, actor.tenant)
        await actor.record(connection, "sound.removed", name, _trail(before.mulaw))


async def _read(connection: AsyncConnection, tenant: str, name: str) -> Row[Any] | None:
    query = select(sounds).where(sounds.c.tenant_id == tenant, sounds.c.name == name)
    row: Row[Any] | None = (await connection.execute(query)).first()
    return row


def _trail(mulaw: bytes) -> dict[str, Any]:
    """A sound for the audit: its length, and a fingerprint."""
    return {"seconds": _seconds(len(mulaw)), "sha256": sha256(mulaw).hexdigest()}


def converted(file: bytes) -> bytes:
    """A WAV file's sound as mu-law. Raises Invalid, TooLarge."""
    if len(file) > MAX_SOUND:
        raise TooLarge(f"A sound has at most {MAX_SOUND:,} bytes, this one {len(file):,}.")
    try:
        pcm, rate = wav.read(io.BytesIO(file))
    except wav.WavError as error:
        raise _invalid(str(error)) from None
    if rate not in RATES:
        raise _invalid(f"a rate of {rate:,} samples a second: from {RATES[0]:,} to {RATES[-1]:,} are possible")
    if not 0 < len(pcm) // 2 <= MAX_SECONDS * rate:
        raise _invalid(f"{len(pcm) / 2 / rate:.0f} seconds long: up to {MAX_SECONDS} are possible, and more than none")
    return telephone(file)


def _invalid(message: str) -> Invalid:
    return Invalid("This is no sound that can be stored.", [Problem("", "wav", message)])


def _seconds(length: int) -> float:
    return length / SAMPLE_RATE
