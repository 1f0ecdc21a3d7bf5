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

from vocelio.engine.diagnostics import Problem
from vocelio.engine.validation.loader import MAX_BYTES
from vocelio.gateway.dialing import validation
from vocelio.gateway.errors import BadRequest, Conflict, Invalid, NotFound, Stale, TooLarge, Unconditional
from vocelio.gateway.model.types import PhoneNumber
from vocelio.gateway.store.audit.actor import Actor, to_json
from vocelio.gateway.store.db import pagination
from vocelio.gateway.store.db.database import Database
from vocelio.gateway.store.db.pagination import Items
from vocelio.gateway.store.db.schema import flow_versions, flows
from vocelio.gateway.store.tenants import dial_context

MAX_FLOWS = 1_000  # of a tenant
MAX_DEPTH = 100  # of a document: nothing that is deeper is a flow, and it could not be looked through everywhere
RESERVED = ("schema",)  # /v1/flows/schema is the schema of flow documents


class Pause(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What callers of a paused flow get: they hear ``text`` (empty: the tenant's), or are forwarded to a number."""

    text: Annotated[str, Meta(max_length=1_000)] = ""
    forward: PhoneNumber | None = None


class Flow(msgspec.Struct, frozen=True, kw_only=True):
    """A flow: its draft's ``name`` and ``revision``, the version that is ``active``, if one is, and its pause."""

    flow: str
    name: str
    revision: int
    active: int | None
    pause: Pause | None
    created: int
    changed: int


class Draft(Flow, frozen=True, kw_only=True):
    """A flow with its draft, as it was sent."""

    document: msgspec.Raw


_TOLD: tuple[Any, ...] = (
    flows.c.id,
    flows.c.name,
    flows.c.revision,
    flows.c.active,
    flows.c.pause,
    flows.c.created,
    flows.c.changed,
)


async def every(database: Database, tenant: str, limit: int, cursor: str) -> Items[Flow]:
    """A tenant's, by name in the address. Raises Invalid."""
    last = pagination.after(cursor, str)
    query = select(*_TOLD).where(flows.c.tenant_id == tenant).order_by(flows.c.id).limit(limit + 1)
    if last:
        query = query.where(flows.c.id > last[0])
    async with database.reading() as connection:
        rows: Any = (await connection.execute(query)).all()
    return pagination.cut(rows, limit, told, lambda row: (row.id,))


async def show(database: Database, tenant: str, flow: str) -> Draft:
    """One flow and its draft. Raises NotFound."""
    async with database.reading() as connection:
        row = await found(connection, tenant, flow)
    return Draft(**_facts(row), document=msgspec.Raw(row.draft))


async def put(database: Database, actor: Actor, flow: str, document: bytes, seen: int | None) -> tuple[Flow, bool]:
    """Keep a draft: the flow, and whether it is new. ``seen`` is the revision that it takes the place of, 0 whichever.

    Raises BadRequest, Invalid, TooLarge when it is no JSON object; Unconditional, Stale, Conflict.
    """
    if flow in RESERVED:
        raise Conflict(f"No flow can be called {flow}: the address is taken. Choose another name.")
    document = document.strip()  # what JSON leaves of it: a version's identity is made of its bytes
    name = await asyncio.to_thread(_name_of, document) or flow
    new = {"name": name, "draft": document, "changed": actor.at}
    try:
        async with database.writing() as connection:
            before = await _held(connection, actor.tenant, flow)
            if before is None:
                return await _create(connection, actor, flow, new, seen), True
            return await _replace(connection, actor, before, new, seen), False
    except IntegrityError:
        raise Conflict("Somebody else has made a flow of that name at this moment. Read it first.") from None


async def _create(connection: AsyncConnection, actor: Actor, flow: str, new: dict[str, Any], seen: int | None) -> Flow:
    if seen is not None:
        raise Stale("There is no such flow that could be changed. Leave If-Match out to make it.")
    query = select(func.count()).select_from(flows).where(flows.c.tenant_id == actor.tenant)
    if (await connection.scalar(query) or 0) >= MAX_FLOWS:
        raise Conflict(f"There are {MAX_FLOWS:,} flows, which is all there can be. Remove one first.")
    row = {"tenant_id": actor.tenant, "id": flow, "revision": 1, "active": None, "pause": None, "created": actor.at}
    await connection.execute(insert(flows).values(**row, **new))
    made = await found(connection, actor.tenant, flow)
    await actor.record(connection, "flow.drafted", flow, None, _trail(made))
    return told(made)


async def _replace(
    connection: AsyncConnection, actor: Actor, before: Row[Any], new: dict[str, Any], seen: int | None
) -> Flow:
    if seen is None:
        raise Unconditional("The flow is there already. Say in If-Match which revision of its draft is to be replaced.")
    must_match(before, seen)
    if before.draft == new["draft"]:
        return told(before)
    await set_parts(connection, actor, before.id, revision=before.revision + 1, **new)
    made = await found(connection, actor.tenant, before.id)
    await actor.record(connection, "flow.drafted", before.id, _trail(before), _trail(made))
    return told(made)


async def remove(database: Database, actor: Actor, flow: str, seen: int | None) -> None:
    """Take a flow away that never answered a call. Raises NotFound, Stale, Conflict."""
    async with database.writing() as connection:
        before = await held(connection, actor.tenant, flow)
        must_match(before, seen)
        mine = (flow_versions.c.tenant_id == actor.tenant, flow_versions.c.flow_id == flow)
        if await connection.scalar(select(exists().where(*mine))):  # a number leads only to one that was promoted
            raise Conflict("The flow was promoted, so its versions are kept. Pause it, or unassign its numbers.")
        await connection.execute(delete(flows).where(flows.c.tenant_id == actor.tenant, flows.c.id == flow))
        await actor.record(connection, "flow.removed", flow, _trail(before))


async def pause(database: Database, actor: Actor, flow: str, how: Pause) -> Flow:
    """Turn new calls away; live ones go on. Raises NotFound, Invalid, Conflict."""
    if how.text and how.forward:
        problem = Problem("text", "text-or-forward", "callers either hear a text or are forwarded")
        raise Invalid("A flow is paused in one way.", [problem])
    return await _set_pause(database, actor, flow, how)


async def resume(database: Database, actor: Actor, flow: str) -> Flow:
    """Let new calls in again. Raises NotFound."""
    return await _set_pause(database, actor, flow, None)


async def _set_pause(database: Database, actor: Actor, flow: str, how: Pause | None) -> Flow:
    async with database.writing() as connection:
        row = await held(connection, actor.tenant, flow)
        before = told(row).pause
        if row.active is None:
            raise Conflict("The flow answers no calls: it was never promoted.")
        if before == how:
            return told(row)
        if how and how.forward:
            await _check_forward(connection, actor.tenant, how.forward)
        await set_parts(connection, actor, flow, pause=None if how is None else to_json(how))
        await actor.record(connection, "flow.paused" if how else "flow.resumed", flow, before, how)
        return told(await found(connection, actor.tenant, flow))


async def _check_forward(connection: AsyncConnection, tenant: str, number: str) -> None:
    rules = await dial_context.read(connection, tenant)
    if problems := list(validation.of_number(rules, "forward", number)):
        raise Invalid("Callers cannot be forwarded there.", problems)


# For those who change flows otherwise


async def found(connection: AsyncConnection, tenant: str, flow: str) -> Row[Any]:
    """A flow's row. Raises NotFound."""
    row: Row[Any] | None = (await connection.execute(_one(tenant, flow))).first()
    if row is None:
        raise NotFound
    return row


async def held(connection: AsyncConnection, tenant: str, flow: str) -> Row[Any]:
    """A flow's row, which nobody else changes until the transaction ends. Raises NotFound."""
    row = await _held(connection, tenant, flow)
    if row is None:
        raise NotFound
    return row


async def _held(connection: AsyncConnection, tenant: str, flow: str) -> Row[Any] | None:
    row: Row[Any] | None = (await connection.execute(_one(tenant, flow).with_for_update(key_share=True))).first()
    return row


def _one(tenant: str, flow: str) -> Select[Any]:
    return select(flows).where(flows.c.tenant_id == tenant, flows.c.id == flow)


async def set_parts(connection: AsyncConnection, actor: Actor, flow: str, **parts: Any) -> None:
    """Change a flow's row."""
    where = (flows.c.tenant_id == actor.tenant, flows.c.id == flow)
    await connection.execute(update(flows).where(*where).values({"changed": actor.at, **parts}))


def must_match(row: Row[Any], seen: int | None) -> None:
    """The draft must still be what it was when it was read, if that is said (0: whatever it is). Raises Stale."""
    if seen and row.revision != seen:
        raise Stale(f"The draft has revision {row.revision} by now, not {seen}. Read it again.")


def told(row: Row[Any]) -> Flow:
    """A flow from its row."""
    return Flow(**_facts(row))


def _facts(row: Row[Any]) -> dict[str, Any]:
    return {
        "flow": row.id,
        "name": row.name,
        "revision": row.revision,
        "active": row.active,
        "pause": None if row.pause is None else msgspec.json.decode(row.pause, type=Pause),
        "created": row.created,
        "changed": row.changed,
    }


def _trail(row: Row[Any]) -> dict[str, Any]:
    """A draft for the audit: a fingerprint, since a hundred of them may come before a version."""
    return {"revision": row.revision, "name": row.name, "sha256": sha256(row.draft).hexdigest()}


def _name_of(document: bytes) -> str:
    """The name in a draft, if it has one. Raises BadRequest, Invalid, TooLarge."""
    if len(document) > MAX_BYTES:
        raise TooLarge(f"A flow has at most {MAX_BYTES:,} bytes, this one {len(document):,}.")
    try:
        raw = msgspec.json.decode(document)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequest(f"This is not JSON: {error}") from None
    if not isinstance(raw, dict):
        raise Invalid("This is no flow.", [Problem("", "json", "a flow is a JSON object")])
    if _depth_exceeds(MAX_DEPTH, raw):
        raise Invalid("This is no flow.", [Problem("", "too-deep", f"a flow is at most {MAX_DEPTH} levels deep")])
    name = raw.get("name")
    return name.replace("\0", "")[:200] if isinstance(name, str) else ""


def _depth_exceeds(most: int, value: Any) -> bool:
    level = [value]
    for _ in range(most):
        level = [inner for outer in level for inner in _inside(outer)]
        if not level:
            return False
    return True


def _inside(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()
