"""A tenant's flows: the draft that designers edit, and whether calls get the active version or are turned away.

A draft may have errors: it is kept byte for byte as it was sent. Its ``revision`` counts its changes, so that two
designers cannot overwrite each other: whoever changes a draft says which revision they have seen.
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
from vocelio.gateway.dialing import validation
from vocelio.gateway.errors import (
    BadRequest,
    Conflict,
    ContentTooLarge,
    NotFound,
    PreconditionFailed,
    PreconditionRequired,
    UnprocessableContent,
)
from vocelio.gateway.model.types import PhoneNumber
from vocelio.gateway.store.audit import Actor, dump_json
from vocelio.gateway.store.db import pagination
from vocelio.gateway.store.db.database import Database
from vocelio.gateway.store.db.pagination import Page
from vocelio.gateway.store.db.schema import flow_versions, flows
from vocelio.gateway.store.tenants import tenants

MAX_FLOWS = 1_000  # of a tenant
MAX_DOCUMENT_DEPTH = (
    100  # of a document: nothing that is deeper is a flow, and it could not be looked through everywhere
)
RESERVED_IDS = ("schema",)  # /v1/flows/schema is the schema of flow documents


class PauseSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What callers of a paused flow get: they hear ``message`` (empty: the tenant's), or are forwarded to a number."""

    message: Annotated[str, Meta(max_length=1_000)] = ""
    forward_to: PhoneNumber | None = None


class FlowSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A flow: its draft's ``name`` and ``revision``, the version that is ``active``, if one is, and its pause."""

    id: str
    name: str
    revision: int
    active_version: int | None
    pause: PauseSettings | None
    created_at: int
    updated_at: int


class FlowDraft(FlowSummary, frozen=True, kw_only=True):
    """A flow with its draft, as it was sent."""

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
    """A tenant's, by name in the address. Raises Invalid."""
    last = pagination.decode_cursor(cursor, str)
    query = select(*_SUMMARY_COLUMNS).where(flows.c.tenant_id == tenant).order_by(flows.c.id).limit(limit + 1)
    if last:
        query = query.where(flows.c.id > last[0])
    async with database.read() as connection:
        rows: Any = (await connection.execute(query)).all()
    return pagination.make_page(rows, limit, from_row, lambda row: (row.id,))


async def get_flow(database: Database, tenant: str, flow: str) -> FlowDraft:
    """One flow and its draft. Raises NotFound."""
    async with database.read() as connection:
        row = await get_row(connection, tenant, flow)
    return FlowDraft(**_summary_fields(row), document=msgspec.Raw(row.draft))


async def put_flow(
    database: Database, actor: Actor, flow: str, document: bytes, expected_revision: int | None
) -> tuple[FlowSummary, bool]:
    """Keep a draft: the flow, and whether it is new. ``seen`` is the revision that it takes the place of, 0 whichever.

    Raises BadRequest, Invalid, TooLarge when it is no JSON object; Unconditional, Stale, Conflict.
    """
    if flow in RESERVED_IDS:
        raise Conflict(f"No flow can be called {flow}: the address is taken. Choose another name.")
    document = document.strip()  # what JSON leaves of it: a version's identity is made of its bytes
    name = await asyncio.to_thread(_parse_name, document) or flow
    new = {"name": name, "draft": document, "updated_at": actor.now}
    try:
        async with database.transaction() as connection:
            before = await _find_and_lock_row(connection, actor.tenant, flow)
            if before is None:
                return await _create_flow(connection, actor, flow, new, expected_revision), True
            return await _replace_draft(connection, actor, before, new, expected_revision), False
    except IntegrityError:
        raise Conflict("Somebody else has made a flow of that name at this moment. Read it first.") from None


async def _create_flow(
    connection: AsyncConnection, actor: Actor, flow: str, columns: dict[str, Any], expected_revision: int | None
) -> FlowSummary:
    if expected_revision is not None:
        raise PreconditionFailed("There is no such flow that could be changed. Leave If-Match out to make it.")
    query = select(func.count()).select_from(flows).where(flows.c.tenant_id == actor.tenant)
    if (await connection.scalar(query) or 0) >= MAX_FLOWS:
        raise Conflict(f"There are {MAX_FLOWS:,} flows, which is all there can be. Remove one first.")
    row = {
        "tenant_id": actor.tenant,
        "id": flow,
        "revision": 1,
        "active_version": None,
        "pause_settings": None,
        "created_at": actor.now,
    }
    await connection.execute(insert(flows).values(**row, **columns))
    made = await get_row(connection, actor.tenant, flow)
    await actor.audit(connection, "flow.draft_saved", flow, None, _audit_view(made))
    return from_row(made)


async def _replace_draft(
    connection: AsyncConnection, actor: Actor, before: Row[Any], columns: dict[str, Any], expected_revision: int | None
) -> FlowSummary:
    if expected_revision is None:
        raise PreconditionRequired(
            "The flow is there already. Say in If-Match which revision of its draft is to be replaced."
        )
    check_revision(before, expected_revision)
    if before.draft == columns["draft"]:
        return from_row(before)
    await update_columns(connection, actor, before.id, revision=before.revision + 1, **columns)
    made = await get_row(connection, actor.tenant, before.id)
    await actor.audit(connection, "flow.draft_saved", before.id, _audit_view(before), _audit_view(made))
    return from_row(made)


async def delete_flow(database: Database, actor: Actor, flow: str, expected_revision: int | None) -> None:
    """Take a flow away that never answered a call. Raises NotFound, Stale, Conflict."""
    async with database.transaction() as connection:
        before = await lock_row(connection, actor.tenant, flow)
        check_revision(before, expected_revision)
        mine = (flow_versions.c.tenant_id == actor.tenant, flow_versions.c.flow_id == flow)
        if await connection.scalar(select(exists().where(*mine))):  # a number leads only to one that was promoted
            raise Conflict("The flow was promoted, so its versions are kept. Pause it, or unassign its numbers.")
        await connection.execute(delete(flows).where(flows.c.tenant_id == actor.tenant, flows.c.id == flow))
        await actor.audit(connection, "flow.deleted", flow, _audit_view(before))


async def pause_flow(database: Database, actor: Actor, flow: str, settings: PauseSettings) -> FlowSummary:
    """Turn new calls away; live ones go on. Raises NotFound, Invalid, Conflict."""
    if settings.message and settings.forward_to:
        problem = Diagnostic("message", "message-or-forward-to", "callers either hear a message or are forwarded")
        raise UnprocessableContent("A flow is paused in one way.", [problem])
    return await _set_pause(database, actor, flow, settings)


async def resume_flow(database: Database, actor: Actor, flow: str) -> FlowSummary:
    """Let new calls in again. Raises NotFound."""
    return await _set_pause(database, actor, flow, None)


async def _set_pause(database: Database, actor: Actor, flow: str, settings: PauseSettings | None) -> FlowSummary:
    async with database.transaction() as connection:
        row = await lock_row(connection, actor.tenant, flow)
        before = from_row(row).pause
        if row.active_version is None:
            raise Conflict("The flow answers no calls: it was never promoted.")
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
        raise UnprocessableContent("Callers cannot be forwarded there.", problems)


# For those who change flows otherwise


async def get_row(connection: AsyncConnection, tenant: str, flow: str) -> Row[Any]:
    """A flow's row. Raises NotFound."""
    row: Row[Any] | None = (await connection.execute(_select_row(tenant, flow))).first()
    if row is None:
        raise NotFound
    return row


async def lock_row(connection: AsyncConnection, tenant: str, flow: str) -> Row[Any]:
    """A flow's row, which nobody else changes until the transaction ends. Raises NotFound."""
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
    """Change a flow's row."""
    where = (flows.c.tenant_id == actor.tenant, flows.c.id == flow)
    await connection.execute(update(flows).where(*where).values({"updated_at": actor.now, **columns}))


def check_revision(row: Row[Any], expected_revision: int | None) -> None:
    """The draft must still be what it was when it was read, if that is said (0: whatever it is). Raises Stale."""
    if expected_revision and row.revision != expected_revision:
        raise PreconditionFailed(
            f"The draft has revision {row.revision} by now, not {expected_revision}. Read it again."
        )


def from_row(row: Row[Any]) -> FlowSummary:
    """A flow from its row."""
    return FlowSummary(**_summary_fields(row))


def _summary_fields(row: Row[Any]) -> dict[str, Any]:
    return {
        "id": row.id,
        "name": row.name,
        "revision": row.revision,
        "active_version": row.active_version,
        "pause": None if row.pause_settings is None else msgspec.json.decode(row.pause_settings, type=PauseSettings),
        "created_at": row.created_at,
        "updated_at": row.updated_at,
    }


def _audit_view(row: Row[Any]) -> dict[str, Any]:
    """A draft for the audit: a fingerprint, since a hundred of them may come before a version."""
    return {"revision": row.revision, "name": row.name, "sha256": sha256(row.draft).hexdigest()}


def _parse_name(document: bytes) -> str:
    """The name in a draft, if it has one. Raises BadRequest, Invalid, TooLarge."""
    if len(document) > MAX_FLOW_BYTES:
        raise ContentTooLarge(f"A flow has at most {MAX_FLOW_BYTES:,} bytes, this one {len(document):,}.")
    try:
        raw = msgspec.json.decode(document)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequest(f"This is not JSON: {error}") from None
    if not isinstance(raw, dict):
        raise UnprocessableContent("This is no flow.", [Diagnostic("", "invalid-json", "a flow is a JSON object")])
    if _depth_exceeds(MAX_DOCUMENT_DEPTH, raw):
        raise UnprocessableContent(
            "This is no flow.", [Diagnostic("", "too-deep", f"a flow is at most {MAX_DOCUMENT_DEPTH} levels deep")]
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
