"""Keys of the API: ``voc_<id>_<secret>``, shown once and kept as a hash.

A key of no tenant is the platform's. A key cannot revoke itself, so that of those who may make keys one is always
left; to rotate, make a second key and revoke the first with it.
"""

import hashlib
import hmac
import re
import secrets
import string
from collections.abc import Collection
from typing import Annotated, Any

import msgspec
from msgspec import Meta
from sqlalchemy import ColumnElement, Row, and_, func, insert, or_, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from vocelio.engine.diagnostics import Problem
from vocelio.gateway.errors import BadRequest, Conflict, Forbidden, Invalid, NotFound, Unauthorized
from vocelio.gateway.model import roles
from vocelio.gateway.model.roles import Role
from vocelio.gateway.store.audit.actor import Actor
from vocelio.gateway.store.db import pagination
from vocelio.gateway.store.db.database import Database
from vocelio.gateway.store.db.pagination import Items
from vocelio.gateway.store.db.schema import keys, tenants

LETTERS = string.ascii_letters + string.digits  # no underscore, which separates the parts
SECRET_LETTERS = 32  # 190 bits
FORM = re.compile(rf"voc_([0-9a-f]{{16}})_([A-Za-z0-9]{{{SECRET_LETTERS}}})", re.ASCII)
NOBODYS = "0" * 64  # a digest that no key has: an unknown key costs what a known one does
MAX_LIVE = 100  # of one tenant; two are needed to rotate one
LAST_USED_EVERY = 60_000_000  # microseconds between two writes of when a key was used

Instant = Annotated[int, Meta(ge=0, le=253_402_300_799_999_999, description="whole microseconds since 1970, UTC")]


class NewKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``label`` says what the key is for; it is good until ``expires``, or until it is revoked."""

    role: Role
    label: Annotated[str, Meta(max_length=200)] = ""
    expires: Instant | None = None


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """A key, but for its secret. ``tenant`` is empty for the platform's. ``last_used`` is exact to a minute."""

    id: str
    tenant: str
    role: Role
    label: str
    created_by: str
    created: int
    expires: int | None
    last_used: int | None
    revoked: int | None


class NewlyMadeKey(Key, frozen=True, kw_only=True):
    """A key with its secret, which is shown this once: what goes behind `Authorization: Bearer`."""

    secret: str


async def create(database: Database, actor: Actor, new: NewKey) -> NewlyMadeKey:
    """Make a key of the actor's tenant, or of the platform's. Raises Forbidden, BadRequest, Invalid, Conflict."""
    _check(actor, new)
    async with database.writing() as connection:
        await _check_room(connection, actor)
        return await _make(connection, actor, new)


async def first(database: Database, label: str, at: int) -> str:
    """A platform key, made by whoever can write to the database: its secret."""
    actor = Actor("command-line", "platform", "", "", at)
    async with database.writing() as connection:
        made = await _make(connection, actor, NewKey("platform", label[:200]))
    return made.secret


async def every(database: Database, tenant: str, limit: int, cursor: str) -> Items[Key]:
    """A tenant's keys, or the platform's, newest first; revoked and expired ones, too. Raises Invalid."""
    last = pagination.after(cursor, int, str)
    order = tuple_(keys.c.created, keys.c.id)
    query = select(keys).where(_of(tenant)).order_by(keys.c.created.desc(), keys.c.id.desc()).limit(limit + 1)
    if last:
        query = query.where(order < last)
    async with database.reading() as connection:
        rows = (await connection.execute(query)).all()
    return pagination.cut(rows, limit, _key, lambda row: (row.created, row.id))


async def show(database: Database, tenant: str, key: str) -> Key:
    """One key. Raises NotFound."""
    async with database.reading() as connection:
        row = (await connection.execute(select(keys).where(_of(tenant), keys.c.id == key))).first()
    if row is None:
        raise NotFound
    return _key(row)


async def revoke(database: Database, actor: Actor, key: str) -> None:
    """The key is no good from now on; again, nothing happens. Raises NotFound, Conflict for the actor's own key."""
    if key == actor.key:
        raise Conflict("A key cannot revoke itself: make another one and revoke this one with it.")
    async with database.writing() as connection:
        row = await _locked(connection, actor, key)
        if row.revoked is not None:
            return
        await connection.execute(update(keys).where(keys.c.id == key).values(revoked=actor.at))
        await actor.record(connection, "key.revoked", key, _key(row))


class Holder(msgspec.Struct, frozen=True):
    """Whose key a good one is. ``tenant`` is empty for the platform's."""

    key: str
    tenant: str
    role: Role
    last_used: int


async def holder(database: Database, text: str, at: int) -> Holder | None:
    """Whose key that is, if it is good now: known, neither revoked nor expired, its tenant not suspended."""
    match = FORM.fullmatch(text)
    if match is None:
        return None
    query = select(keys, tenants.c.suspended).outerjoin(tenants, tenants.c.id == keys.c.tenant_id)
    async with database.reading() as connection:
        row = (await connection.execute(query.where(keys.c.id == match[1]))).first()
    genuine = hmac.compare_digest(_digest(text), row.digest if row else NOBODYS)
    if row is None or not genuine or row.suspended or not _is_live(row, at):
        return None
    return Holder(row.id, row.tenant_id or "", row.role, row.last_used or 0)


async def named(database: Database, key: str, at: int) -> Holder | None:
    """Whose key has that id, if it is good now: for what was vouched for by whoever had its secret."""
    query = select(keys, tenants.c.suspended).outerjoin(tenants, tenants.c.id == keys.c.tenant_id)
    async with database.reading() as connection:
        row = (await connection.execute(query.where(keys.c.id == key))).first()
    if row is None or row.suspended or not _is_live(row, at):
        return None
    return Holder(row.id, row.tenant_id or "", row.role, row.last_used or 0)


async def good(database: Database, ids: Collection[str], at: int) -> set[str]:
    """Those of these keys that are good now; see ``holder``."""
    query = select(keys, tenants.c.suspended).outerjoin(tenants, tenants.c.id == keys.c.tenant_id)
    async with database.reading() as connection:
        rows = (await connection.execute(query.where(keys.c.id.in_(ids)))).all()
    return {row.id for row in rows if not row.suspended and _is_live(row, at)}


async def used(database: Database, holder: Holder, at: int) -> None:
    """Take down that the key was used, unless that was done a moment ago."""
    if at - holder.last_used >= LAST_USED_EVERY:
        async with database.writing() as connection:
            await connection.execute(update(keys).where(keys.c.id == holder.key).values(last_used=at))


def _check(actor: Actor, new: NewKey) -> None:
    if not roles.covers(actor.role, new.role):
        raise Forbidden(f"A key of the role {actor.role} cannot make one of the role {new.role}.")
    if new.role == "platform" and actor.tenant:
        problem = Problem("role", "value", "a platform key is no tenant's: leave the header Vocelio-Tenant away")
        raise Invalid("The key cannot be made.", [problem])
    if new.role != "platform" and not actor.tenant:
        raise BadRequest("A key of that role is a tenant's: name the tenant by the header Vocelio-Tenant.")
    if new.expires is not None and new.expires <= actor.at:
        raise Invalid("The key cannot be made.", [Problem("expires", "value", "this is in the past")])


async def _check_room(connection: AsyncConnection, actor: Actor) -> None:
    """Whoever makes keys of one tenant takes turns."""
    if actor.tenant:
        await connection.execute(
            select(tenants.c.id).where(tenants.c.id == actor.tenant).with_for_update(key_share=True)
        )
    live = and_(_of(actor.tenant), keys.c.revoked.is_(None), or_(keys.c.expires.is_(None), keys.c.expires > actor.at))
    count = (await connection.execute(select(func.count()).select_from(keys).where(live))).scalar_one()
    if count >= MAX_LIVE:
        raise Conflict(f"There are {MAX_LIVE} live keys already: revoke one first.")


async def _make(connection: AsyncConnection, actor: Actor, new: NewKey) -> NewlyMadeKey:
    key = secrets.token_hex(8)
    secret = f"voc_{key}_{''.join(secrets.choice(LETTERS) for _ in range(SECRET_LETTERS))}"
    row: dict[str, Any] = {
        "id": key,
        "tenant_id": actor.tenant or None,
        "role": new.role,
        "label": new.label,
        "created_by": actor.key,
        "created": actor.at,
        "expires": new.expires,
        "last_used": None,
        "revoked": None,
    }
    await connection.execute(insert(keys).values(**row, digest=_digest(secret)))
    del row["tenant_id"]
    made = NewlyMadeKey(**row, tenant=actor.tenant, secret=secret)
    await actor.record(connection, "key.created", key, after=new)
    return made


async def _locked(connection: AsyncConnection, actor: Actor, key: str) -> Row[Any]:
    """The key to revoke. Two keys that revoke each other take turns, and the second is no good any more."""
    query = select(keys).where(keys.c.id.in_((key, actor.key))).order_by(keys.c.id).with_for_update()
    rows = {row.id: row for row in await connection.execute(query)}
    if actor.key in rows and rows[actor.key].revoked is not None:
        raise Unauthorized("The key is not good.")
    row = rows.get(key)
    if row is None or (row.tenant_id or "") != actor.tenant:
        raise NotFound
    return row


def _of(tenant: str) -> ColumnElement[bool]:
    return keys.c.tenant_id == tenant if tenant else keys.c.tenant_id.is_(None)


def _is_live(row: Row[Any], at: int) -> bool:
    return row.revoked is None and (row.expires is None or row.expires > at)


def _key(row: Row[Any]) -> Key:
    return Key(
        id=row.id,
        tenant=row.tenant_id or "",
        role=row.role,
        label=row.label,
        created_by=row.created_by,
        created=row.created,
        expires=row.expires,
        last_used=row.last_used,
        revoked=row.revoked,
    )


def _digest(text: str) -> str:
    """Of the whole key, so that a secret is good for one id only. Random texts need no slow hash."""
    return hashlib.sha256(text.encode()).hexdigest()
