"""Flow drafts, and pausing of flows.

A draft may have errors: it is stored byte for byte as it was sent. Its ``revision`` counts changes, and every change
names the revision that it replaces, so that two designers cannot overwrite each other's work.
"""

import asyncio
from collections.abc import Iterable
from hashlib import sha256
from typing import Annotated, Any

import msgspec
from msgspec import Meta
from sqlalchemy import Row, Select, delete, exists, func, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from vocelio.engine.diagnostics import Diagnostic
from vocelio.engine.validation.loader import MAX_FLOW_BYTES
from vocelio.gateway.clock import Instant
from vocelio.gateway.dialing import validation
from vocelio.gateway.errors import (
    AlreadyExists,
    BadRequest,
    Conflict,
    InputTooLarge,
    InvalidInput,
    NotFound,
    QuotaExceeded,
    RevisionConflict,
    RevisionRequired,
)
from vocelio.gateway.model.types import PhoneNumber
from vocelio.gateway.store.audit import Actor, dump_json
from vocelio.gateway.store.db import pagination
from vocelio.gateway.store.db.database import Database
from vocelio.gateway.store.db.pagination import Page
from vocelio.gateway.store.db.schema import flow_versions, flows
from vocelio.gateway.store.tenants import tenants

MAX_FLOWS = 1_000  # of a tenant
MAX_DOCUMENT_DEPTH = 100  # no valid flow is deeper, and recursive code must be able to traverse it

RESERVED_IDS = ("schema",)  # /v1/flows/schema is the JSON Schema of flow documents


class PauseSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What callers of a paused flow get: a ``message`` (empty: the tenant's unavailable_message), or another number."""

    message: Annotated[str, Meta(max_length=1_000)] = ""
    forward_to: PhoneNumber | None = None


class FlowSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A flow: the name and revision of its draft, its active version, if any, and its pause settings while it is
    paused.
    """

    id: str
    name: str
    revision: int
    active_version: int | None
    pause: PauseSettings | None
    created_at: Instant
    updated_at: Instant


class FlowDraft(FlowSummary, frozen=True, kw_only=True):
    """A flow with its draft as it was sent."""

    document: msgspec.Raw


_SUMMARY_COLUMNS: tuple[Any, ...] = (
    flows.c.id,
    flows.c.name,
    flows.c.revision,
    flows.c.active_version,
    flows.c.pause_settings,
    flows.c.created_at,
    flows.c.updated_at,
)


async def list_flows(database: Database, tenant: str, limit: int, cursor: str) -> Page[FlowSummary]:
    """List a tenant's flows, by id. Raises InvalidInput."""
    last_key = pagination.decode_cursor(cursor, str)
    query = select(*_SUMMARY_COLUMNS).where(flows.c.tenant_id == tenant).order_by(flows.c.id).limit(limit + 1)
    if last_key:
        query = query.where(flows.c.id > last_key[0])
    async with database.read() as connection:
        rows: Any = (await connection.execute(query)).all()
    return pagination.make_page(rows, limit, from_row, lambda row: (row.id,))


async def get_flow(database: Database, tenant: str, flow: str) -> FlowDraft:
    """Return one flow with its draft. Raises NotFound."""
    async with database.read() as connection:
        row = await get_row(connection, tenant, flow)
    return FlowDraft(**_summary_fields(row), document=msgspec.Raw(row.draft))


async def put_flow(
    database: Database, actor: Actor, flow: str, document: bytes, expected_revision: int | None
) -> tuple[FlowSummary, bool]:
    """Store a draft and return the flow, and whether it is new.

    ``expected_revision`` is the revision to replace: None to create the flow, 0 to replace any.
    Raises BadRequest, InvalidInput or InputTooLarge if the document is not a JSON object within the limits;
    RevisionRequired, RevisionConflict, Conflict.
    """
    if flow in RESERVED_IDS:
        raise Conflict(f"The id {flow} is reserved. Choose another one.")
    document = document.strip()  # outer whitespace is not part of the content hash
    name = await asyncio.to_thread(_parse_name, document) or flow
    columns = {"name": name, "draft": document, "updated_at": actor.now}
    try:
        async with database.transaction() as connection:
            before = await _find_and_lock_row(connection, actor.tenant, flow)
            if before is None:
                return await _create_flow(connection, actor, flow, columns, expected_revision), True
            return await _replace_draft(connection, actor, before, columns, expected_revision), False
    except IntegrityError:
        raise AlreadyExists("The flow was created by another request at the same time. Read it first.") from None


async def _create_flow(
    connection: AsyncConnection, actor: Actor, flow: str, columns: dict[str, Any], expected_revision: int | None
) -> FlowSummary:
    if expected_revision is not None:
        raise RevisionConflict("The flow does not exist. Create it without a revision.")
    query = select(func.count()).select_from(flows).where(flows.c.tenant_id == actor.tenant)
    if (await connection.scalar(query) or 0) >= MAX_FLOWS:
        raise QuotaExceeded(f"A tenant can have at most {MAX_FLOWS:,} flows. Delete one first.")
    row = {
        "tenant_id": actor.tenant,
        "id": flow,
        "revision": 1,
        "active_version": None,
        "pause_settings": None,
        "created_at": actor.now,
    }
    await connection.execute(insert(flows).values(**row, **columns))
    created = await get_row(connection, actor.tenant, flow)
    await actor.audit(connection, "flow.draft_saved", flow, None, _audit_view(created))
    return from_row(created)


async def _replace_draft(
    connection: AsyncConnection, actor: Actor, before: Row[Any], columns: dict[str, Any], expected_revision: int | None
) -> FlowSummary:
    if expected_revision is None:
        raise RevisionRequired("The flow already exists. Replacing its draft requires the draft's revision.")
    check_revision(before, expected_revision)
    if before.draft == columns["draft"]:
        return from_row(before)
    await update_columns(connection, actor, before.id, revision=before.revision + 1, **columns)
    updated = await get_row(connection, actor.tenant, before.id)
    await actor.audit(connection, "flow.draft_saved", before.id, _audit_view(before), _audit_view(updated))
    return from_row(updated)


async def delete_flow(database: Database, actor: Actor, flow: str, expected_revision: int | None) -> None:
    """Delete a flow that was never promoted. Raises NotFound, RevisionConflict, Conflict."""
    async with database.transaction() as connection:
        before = await lock_row(connection, actor.tenant, flow)
        check_revision(before, expected_revision)
        is_of_flow = (flow_versions.c.tenant_id == actor.tenant, flow_versions.c.flow_id == flow)
        if await connection.scalar(select(exists().where(*is_of_flow))):  # only promoted flows can have numbers
            raise Conflict("The flow has versions, which are kept. Pause it, or unassign its numbers.")
        await connection.execute(delete(flows).where(flows.c.tenant_id == actor.tenant, flows.c.id == flow))
        await actor.audit(connection, "flow.deleted", flow, _audit_view(before))


async def pause_flow(database: Database, actor: Actor, flow: str, settings: PauseSettings) -> FlowSummary:
    """Stop answering new calls; live ones continue. Raises NotFound, InvalidInput, Conflict."""
    if settings.message and settings.forward_to:
        problem = Diagnostic("message", "message-or-forward-to", "set either a message or a number to forward to")
        raise InvalidInput("Invalid pause settings.", [problem])
    return await _set_pause(database, actor, flow, settings)


async def resume_flow(database: Database, actor: Actor, flow: str) -> FlowSummary:
    """Answer new calls again. Raises NotFound."""
    return await _set_pause(database, actor, flow, None)


async def _set_pause(database: Database, actor: Actor, flow: str, settings: PauseSettings | None) -> FlowSummary:
    async with database.transaction() as connection:
        row = await lock_row(connection, actor.tenant, flow)
        before = from_row(row).pause
        if row.active_version is None:
            raise Conflict("The flow was never promoted, so it answers no calls.")
        if before == settings:
            return from_row(row)
        if settings and settings.forward_to:
            await _check_forward(connection, actor.tenant, settings.forward_to)
        await update_columns(connection, actor, flow, pause_settings=None if settings is None else dump_json(settings))
        await actor.audit(connection, "flow.paused" if settings else "flow.resumed", flow, before, settings)
        return from_row(await get_row(connection, actor.tenant, flow))


async def _check_forward(connection: AsyncConnection, tenant: str, number: str) -> None:
    rules = await tenants.load_dial_context(connection, tenant)
    if problems := list(validation.check_number(rules, "forward_to", number)):
        raise InvalidInput("The dial rules do not allow this number.", problems)


# Rows, for the other modules of this package


async def get_row(connection: AsyncConnection, tenant: str, flow: str) -> Row[Any]:
    """Return a flow's row. Raises NotFound."""
    row: Row[Any] | None = (await connection.execute(_select_row(tenant, flow))).first()
    if row is None:
        raise NotFound
    return row


async def lock_row(connection: AsyncConnection, tenant: str, flow: str) -> Row[Any]:
    """Return a flow's row, locked until the transaction ends. Raises NotFound."""
    row = await _find_and_lock_row(connection, tenant, flow)
    if row is None:
        raise NotFound
    return row


async def _find_and_lock_row(connection: AsyncConnection, tenant: str, flow: str) -> Row[Any] | None:
    row: Row[Any] | None = (await connection.execute(_select_row(tenant, flow).with_for_update(key_share=True))).first()
    return row


def _select_row(tenant: str, flow: str) -> Select[Any]:
    return select(flows).where(flows.c.tenant_id == tenant, flows.c.id == flow)


async def update_columns(connection: AsyncConnection, actor: Actor, flow: str, **columns: Any) -> None:
    """Update columns of a flow's row."""
    where = (flows.c.tenant_id == actor.tenant, flows.c.id == flow)
    await connection.execute(update(flows).where(*where).values({"updated_at": actor.now, **columns}))


def check_revision(row: Row[Any], expected_revision: int | None) -> None:
    """Check that the draft has the expected revision, if one is given (0: any). Raises RevisionConflict."""
    if expected_revision and row.revision != expected_revision:
        raise RevisionConflict(f"The draft has revision {row.revision}, not {expected_revision}. Read it again.")


def from_row(row: Row[Any]) -> FlowSummary:
    """Convert a row."""
    return FlowSummary(**_summary_fields(row))


def _summary_fields(row: Row[Any]) -> dict[str, Any]:
    return {
        "id": row.id,
        "name": row.name,
        "revision": row.revision,
        "active_version": row.active_version,
        "pause": None if row.pause_settings is None else msgspec.json.decode(row.pause_settings, type=PauseSettings),
        "created_at": Instant(row.created_at),
        "updated_at": Instant(row.updated_at),
    }


def _audit_view(row: Row[Any]) -> dict[str, Any]:
    """Return what the audit log has of a draft: a hash, since there may be a hundred drafts before one version."""
    return {"revision": row.revision, "name": row.name, "sha256": sha256(row.draft).hexdigest()}


def _parse_name(document: bytes) -> str:
    """Return the name in a draft, empty if it has none. Raises BadRequest, InvalidInput, InputTooLarge."""
    if len(document) > MAX_FLOW_BYTES:
        raise InputTooLarge(f"A flow has at most {MAX_FLOW_BYTES:,} bytes; this one has {len(document):,}.")
    try:
        raw = msgspec.json.decode(document)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequest(f"Invalid JSON: {error}") from None
    if not isinstance(raw, dict):
        raise InvalidInput("Not a flow document.", [Diagnostic("", "invalid-json", "a flow is a JSON object")])
    if _depth_exceeds(MAX_DOCUMENT_DEPTH, raw):
        raise InvalidInput(
            "Not a flow document.", [Diagnostic("", "too-deep", f"a flow is at most {MAX_DOCUMENT_DEPTH} levels deep")]
        )
    name = raw.get("name")
    return name.replace("\0", "")[:200] if isinstance(name, str) else ""


def _depth_exceeds(max_depth: int, value: Any) -> bool:
    level = [value]
    for _ in range(max_depth):
        level = [inner for outer in level for inner in _children(outer)]
        if not level:
            return False
    return True


def _children(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()
