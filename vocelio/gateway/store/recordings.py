"""Catalog of recordings. The audio is in the object storage, see ``gateway/recordings``."""

from typing import Annotated, Any, Literal, Protocol

import msgspec
from msgspec import Meta
from sqlalchemy import Row, delete, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from vocelio.gateway.clock import Instant
from vocelio.gateway.errors import Conflict, NotFound
from vocelio.gateway.model.types import PATTERN_END
from vocelio.gateway.store.audit import Actor
from vocelio.gateway.store.calls.history import CallId, Cursor
from vocelio.gateway.store.db import pagination
from vocelio.gateway.store.db.database import Database
from vocelio.gateway.store.db.pagination import Page
from vocelio.gateway.store.db.schema import audit_log, recordings

UNFINISHED_BATCH_SIZE = 100  # that one sweep handles: the rest waits for the next
ACCESS_AUDIT_INTERVAL_MICROSECONDS = 600_000_000  # a player requests one recording in many parts


RecordingId = Annotated[str, Meta(pattern=f"^[0-9a-f]{{1,32}}{PATTERN_END}", description="the id of a recording")]
RecordingKind = Literal["voicemail", "call"]
RecordingState = Literal["writing", "complete", "broken"]


class RecordingQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Filters of recordings: of one call, or of one kind."""

    call: CallId | None = None
    kind: RecordingKind | None = None
    limit: Annotated[int, Meta(ge=1, le=200)] = 50
    cursor: Cursor = ""


class Recording(msgspec.Struct, frozen=True, kw_only=True):
    """A caller's message (``voicemail``) or a whole ``call``, with one recording for each of its streams.

    With two ``channels`` the left one is the caller. ``started_at`` is whole microseconds UTC. ``state`` is
    ``writing``, ``complete``, or ``broken`` if audio was lost. Duration and size are 0 while it is being written.
    """

    id: str
    call: str
    kind: RecordingKind
    channels: int
    started_at: Instant
    duration_seconds: float = 0.0
    state: RecordingState = "writing"
    size_bytes: int = 0


class StoredRecording(Recording, frozen=True, kw_only=True):
    """A recording with its tenant and the path of its final object, which is empty while there are only chunks."""

    tenant: str
    object_path: str = ""


class RecordingCatalog(Protocol):
    """Port to the recordings table, for those who write recordings. Raises DatabaseUnavailable."""

    async def add(self, recording: StoredRecording) -> None:
        """Add a recording that starts. Idempotent."""

    async def finish(self, recording: StoredRecording) -> None:
        """Mark a recording complete or broken; only the first call has an effect."""

    async def list_unfinished(self, before: int) -> list[StoredRecording]:
        """Return the oldest recordings of all tenants still being written that started ``before`` an instant."""
        ...


class DatabaseRecordingCatalog:
    """Catalog in the database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, recording: StoredRecording) -> None:
        statement = self._database.upsert(recordings).on_conflict_do_nothing()
        async with self._database.transaction() as connection:
            await connection.execute(statement, _to_row(recording))

    async def finish(self, recording: StoredRecording) -> None:
        row = _to_row(recording)
        values = {name: row[name] for name in ("duration_seconds", "state", "size_bytes", "object_path")}
        where = (*_key_filter(recording.tenant, recording.id), recordings.c.state == "writing")
        async with self._database.transaction() as connection:
            await connection.execute(update(recordings).where(*where).values(values))

    async def list_unfinished(self, before: int) -> list[StoredRecording]:
        where = (recordings.c.state == "writing", recordings.c.started_at < before)
        query = select(recordings).where(*where).order_by(recordings.c.started_at).limit(UNFINISHED_BATCH_SIZE)
        async with self._database.read() as connection:
            return [_stored_from_row(row) for row in await connection.execute(query)]


class InMemoryRecordingCatalog:
    """Catalog in memory, for the demo and tests."""

    def __init__(self) -> None:
        self.recordings: dict[str, StoredRecording] = {}

    async def add(self, recording: StoredRecording) -> None:
        self.recordings.setdefault(recording.id, recording)

    async def finish(self, recording: StoredRecording) -> None:
        if self.recordings[recording.id].state == "writing":
            self.recordings[recording.id] = recording

    async def list_unfinished(self, before: int) -> list[StoredRecording]:
        return [
            recording
            for recording in self.recordings.values()
            if recording.state == "writing" and recording.started_at < before
        ]


async def list_recordings(database: Database, tenant: str, query_params: RecordingQuery) -> Page[Recording]:
    """List a tenant's recordings, newest first. Raises InvalidInput for an invalid cursor."""
    last_key = pagination.decode_cursor(query_params.cursor, int, str)
    order = (recordings.c.started_at, recordings.c.id)
    query = select(recordings).where(recordings.c.tenant_id == tenant).limit(query_params.limit + 1)
    query = query.order_by(*(column.desc() for column in order))
    for column, value in ((recordings.c.call_id, query_params.call), (recordings.c.kind, query_params.kind)):
        if value is not None:
            query = query.where(column == value)
    if last_key:
        query = query.where(tuple_(*order) < last_key)
    async with database.read() as connection:
        rows = (await connection.execute(query)).all()
    return pagination.make_page(rows, query_params.limit, _from_row, lambda row: (row.started_at, row.id))


async def get_recording(database: Database, tenant: str, recording_id: str) -> Recording:
    """Return one recording. Raises NotFound."""
    async with database.read() as connection:
        return _from_row(await _get_row(connection, tenant, recording_id))


async def audit_access(database: Database, actor: Actor, recording_id: str) -> StoredRecording:
    """Return a recording that is about to be played, and audit the access first. Raises NotFound."""
    async with database.transaction() as connection:
        row = await _get_row(connection, actor.tenant, recording_id)
        if not await _accessed_recently(connection, actor, recording_id):
            await actor.audit(connection, "recording.played", recording_id, after={"call": row.call_id})
    return _stored_from_row(row)


async def get_deletable(database: Database, tenant: str, recording_id: str) -> StoredRecording:
    """Return a recording whose audio may be deleted. Raises NotFound, and Conflict while it is being written."""
    async with database.read() as connection:
        row = await _get_row(connection, tenant, recording_id)
    if row.state == "writing":
        raise Conflict("The recording is still being written. Delete it when it is complete.")
    return _stored_from_row(row)


async def delete_recording(database: Database, actor: Actor, recording_id: str) -> None:
    """Delete a recording from the catalog. Raises NotFound."""
    async with database.transaction() as connection:
        row = await _get_row(connection, actor.tenant, recording_id)
        await connection.execute(delete(recordings).where(*_key_filter(actor.tenant, recording_id)))
        await actor.audit(connection, "recording.deleted", recording_id, before=_from_row(row))


async def _accessed_recently(connection: AsyncConnection, actor: Actor, recording_id: str) -> bool:
    where = (
        audit_log.c.tenant_id == actor.tenant,
        audit_log.c.occurred_at > actor.now - ACCESS_AUDIT_INTERVAL_MICROSECONDS,
        audit_log.c.action == "recording.played",
        audit_log.c.target == recording_id,
        audit_log.c.key_id == actor.key_id,
    )
    return (await connection.execute(select(audit_log.c.id).where(*where).limit(1))).first() is not None


async def _get_row(connection: AsyncConnection, tenant: str, recording_id: str) -> Row[Any]:
    row = (await connection.execute(select(recordings).where(*_key_filter(tenant, recording_id)))).first()
    if row is None:
        raise NotFound
    return row


def _key_filter(tenant: str, recording_id: str) -> tuple[Any, Any]:
    return recordings.c.tenant_id == tenant, recordings.c.id == recording_id


def _to_row(recording: StoredRecording) -> dict[str, Any]:
    fields = msgspec.structs.asdict(recording)
    return {"tenant_id": fields.pop("tenant"), "call_id": fields.pop("call"), **fields}


def _common_fields(row: Row[Any]) -> dict[str, Any]:
    names = ("id", "kind", "channels", "duration_seconds", "state", "size_bytes")
    fields = {name: getattr(row, name) for name in names}
    return {"call": row.call_id, "started_at": Instant(row.started_at), **fields}


def _from_row(row: Row[Any]) -> Recording:
    return Recording(**_common_fields(row))


def _stored_from_row(row: Row[Any]) -> StoredRecording:
    return StoredRecording(**_common_fields(row), tenant=row.tenant_id, object_path=row.object_path)
