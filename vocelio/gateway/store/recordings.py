"""Recordings: what is known of each. Their sound is not here but in the storage, see ``gateway/recordings``."""

from typing import Annotated, Any, Literal, Protocol

import msgspec
from msgspec import Meta
from sqlalchemy import Row, delete, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from vocelio.gateway.errors import Conflict, NotFound
from vocelio.gateway.model.types import END
from vocelio.gateway.store.audit.actor import Actor
from vocelio.gateway.store.calls.history import CallId, Cursor
from vocelio.gateway.store.db import pagination
from vocelio.gateway.store.db.database import Database
from vocelio.gateway.store.db.pagination import Items
from vocelio.gateway.store.db.schema import audit, recordings

AT_ONCE = 100  # unfinished ones that a sweep looks at: more have to wait for the next
HEARD_AGAIN = 600_000_000  # microseconds: a player asks for a recording in parts, which is one listening

RecordingId = Annotated[str, Meta(pattern=f"^[0-9a-f]{{1,32}}{END}", description="a recording, as the list has it")]
Kind = Literal["voicemail", "call"]
State = Literal["writing", "complete", "broken"]


class Search(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which recordings: all of one call, or of one kind."""

    call: CallId | None = None
    kind: Kind | None = None
    limit: Annotated[int, Meta(ge=1, le=200)] = 50
    cursor: Cursor = ""


class Recording(msgspec.Struct, frozen=True, kw_only=True):
    """A message that a caller left (``voicemail``), or a whole ``call``: one for each of its streams.

    Of two ``channels`` the left one is the caller. ``started`` is whole microseconds UTC. ``state``: being written;
    complete; or broken, when part of the sound was lost. ``seconds`` and ``bytes`` are 0 while it is being written.
    """

    id: str
    call: str
    kind: Kind
    channels: int
    started: int
    seconds: float = 0.0
    state: State = "writing"
    bytes: int = 0


class Kept(Recording, frozen=True, kw_only=True):
    """A recording as it is kept: whose, and where its sound is as a whole (empty: only in pieces so far)."""

    tenant: str
    object: str = ""


class Catalogue(Protocol):
    """What those who write recordings need."""

    async def add(self, recording: Kept) -> None:
        """A recording begins. Told twice, it is one. Raises StoreUnavailable."""

    async def finish(self, recording: Kept) -> None:
        """It is complete, or broken; only the first end counts. Raises StoreUnavailable."""

    async def unfinished(self, before: int) -> list[Kept]:
        """Of all tenants, the oldest of those that began before then and are still being written."""
        ...


class DatabaseCatalogue:
    """The Catalogue port on a database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, recording: Kept) -> None:
        """See Catalogue."""
        statement = self._database.upsert(recordings).on_conflict_do_nothing()
        async with self._database.writing() as connection:
            await connection.execute(statement, _row(recording))

    async def finish(self, recording: Kept) -> None:
        """See Catalogue."""
        row = _row(recording)
        values = {name: row[name] for name in ("seconds", "state", "bytes", "object")}
        where = (*_is(recording.tenant, recording.id), recordings.c.state == "writing")
        async with self._database.writing() as connection:
            await connection.execute(update(recordings).where(*where).values(values))

    async def unfinished(self, before: int) -> list[Kept]:
        """See Catalogue."""
        where = (recordings.c.state == "writing", recordings.c.started < before)
        query = select(recordings).where(*where).order_by(recordings.c.started).limit(AT_ONCE)
        async with self._database.reading() as connection:
            return [_kept(row) for row in await connection.execute(query)]


class MemoryCatalogue:
    """The Catalogue port in memory."""

    def __init__(self) -> None:
        self.recordings: dict[str, Kept] = {}

    async def add(self, recording: Kept) -> None:
        """See Catalogue."""
        self.recordings.setdefault(recording.id, recording)

    async def finish(self, recording: Kept) -> None:
        """See Catalogue."""
        if self.recordings[recording.id].state == "writing":
            self.recordings[recording.id] = recording

    async def unfinished(self, before: int) -> list[Kept]:
        """See Catalogue."""
        return [one for one in self.recordings.values() if one.state == "writing" and one.started < before]


async def every(database: Database, tenant: str, search: Search) -> Items[Recording]:
    """A tenant's recordings, the newest first. Raises Invalid when the cursor is none of theirs."""
    behind = pagination.after(search.cursor, int, str)
    order = (recordings.c.started, recordings.c.id)
    query = select(recordings).where(recordings.c.tenant_id == tenant).limit(search.limit + 1)
    query = query.order_by(*(column.desc() for column in order))
    for column, value in ((recordings.c.call_id, search.call), (recordings.c.kind, search.kind)):
        if value is not None:
            query = query.where(column == value)
    if behind:
        query = query.where(tuple_(*order) < behind)
    async with database.reading() as connection:
        rows = (await connection.execute(query)).all()
    return pagination.cut(rows, search.limit, _shown, lambda row: (row.started, row.id))


async def find(database: Database, tenant: str, recording: str) -> Recording:
    """One recording. Raises NotFound."""
    async with database.reading() as connection:
        return _shown(await _find(connection, tenant, recording))


async def listened(database: Database, actor: Actor, recording: str) -> Kept:
    """One recording that somebody is about to hear, which the trail has first. Raises NotFound."""
    async with database.writing() as connection:
        row = await _find(connection, actor.tenant, recording)
        if not await _heard_lately(connection, actor, recording):
            await actor.record(connection, "recording.played", recording, after={"call": row.call_id})
    return _kept(row)


async def removable(database: Database, tenant: str, recording: str) -> Kept:
    """One recording whose sound may be removed. Raises NotFound, and Conflict while it is being written."""
    async with database.reading() as connection:
        row = await _find(connection, tenant, recording)
    if row.state == "writing":
        raise Conflict("The recording is still being written. Remove it when it is complete.")
    return _kept(row)


async def remove(database: Database, actor: Actor, recording: str) -> None:
    """Forget a recording. Raises NotFound."""
    async with database.writing() as connection:
        row = await _find(connection, actor.tenant, recording)
        await connection.execute(delete(recordings).where(*_is(actor.tenant, recording)))
        await actor.record(connection, "recording.removed", recording, before=_shown(row))


async def _heard_lately(connection: AsyncConnection, actor: Actor, recording: str) -> bool:
    where = (
        audit.c.tenant_id == actor.tenant,
        audit.c.at > actor.at - HEARD_AGAIN,
        audit.c.action == "recording.played",
        audit.c.target == recording,
        audit.c.key_id == actor.key,
    )
    return (await connection.execute(select(audit.c.id).where(*where).limit(1))).first() is not None


async def _find(connection: AsyncConnection, tenant: str, recording: str) -> Row[Any]:
    row = (await connection.execute(select(recordings).where(*_is(tenant, recording)))).first()
    if row is None:
        raise NotFound
    return row


def _is(tenant: str, recording: str) -> tuple[Any, Any]:
    return recordings.c.tenant_id == tenant, recordings.c.id == recording


def _row(recording: Kept) -> dict[str, Any]:
    fields = msgspec.structs.asdict(recording)
    return {"tenant_id": fields.pop("tenant"), "call_id": fields.pop("call"), **fields}


def _fields(row: Row[Any]) -> dict[str, Any]:
    names = ("id", "kind", "channels", "started", "seconds", "state", "bytes")
    return {"call": row.call_id, **{name: getattr(row, name) for name in names}}


def _shown(row: Row[Any]) -> Recording:
    return Recording(**_fields(row))


def _kept(row: Row[Any]) -> Kept:
    return Kept(**_fields(row), tenant=row.tenant_id, object=row.object)
