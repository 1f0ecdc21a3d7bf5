"""API keys: ``voc_<id>_<secret>``, shown once and stored as a hash.

A key without a tenant is a platform key. A key cannot revoke itself, so that a key that can create others always
remains. To rotate, create a second key and revoke the first one with it.
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

from vocelio.engine.diagnostics import Diagnostic
from vocelio.gateway.clock import Instant
from vocelio.gateway.errors import (
    Conflict,
    Forbidden,
    InvalidInput,
    NotFound,
    QuotaExceeded,
    TenantRequired,
    Unauthenticated,
)
from vocelio.gateway.model import roles
from vocelio.gateway.model.roles import Role
from vocelio.gateway.store.audit import Actor
from vocelio.gateway.store.db import pagination
from vocelio.gateway.store.db.database import Database
from vocelio.gateway.store.db.pagination import Page
from vocelio.gateway.store.db.schema import api_keys, tenants

SECRET_ALPHABET = string.ascii_letters + string.digits  # without the underscore, which separates the parts
SECRET_LENGTH = 32  # 190 bits
KEY_PATTERN = re.compile(rf"voc_([0-9a-f]{{16}})_([A-Za-z0-9]{{{SECRET_LENGTH}}})", re.ASCII)
DUMMY_DIGEST = "0" * 64  # no key has it: an unknown key takes the same time as a known one
MAX_VALID_KEYS = 100  # of a tenant, or of the platform
LAST_USED_INTERVAL_MICROSECONDS = 60_000_000  # between two updates of a key's last_used_at


class NewApiKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``label`` says what the key is for. It is valid until ``expires_at``, or until it is revoked."""

    role: Role
    label: Annotated[str, Meta(max_length=200)] = ""
    expires_at: Instant | None = None


class ApiKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key without its secret. ``tenant`` is empty for platform keys. ``last_used_at`` is exact to a minute."""

    id: str
    tenant: str
    role: Role
    label: str
    created_by: str
    created_at: Instant
    expires_at: Instant | None
    last_used_at: Instant | None
    revoked_at: Instant | None


class CreatedApiKey(ApiKey, frozen=True, kw_only=True):
    """A key with its secret, which is shown only once: the value for `Authorization: Bearer`."""

    secret: str


async def create_key(database: Database, actor: Actor, new: NewApiKey) -> CreatedApiKey:
    """Create a key of the actor's tenant, or of the platform.

    Raises Forbidden, TenantRequired, InvalidInput, QuotaExceeded.
    """
    _check_new_key(actor, new)
    async with database.transaction() as connection:
        await _check_quota(connection, actor)
        return await _insert_key(connection, actor, new)


async def create_platform_key(database: Database, label: str, now: int) -> str:
    """Create a platform key for someone who can write to the database, and return its secret."""
    actor = Actor("command-line", "platform", "", "", now)
    async with database.transaction() as connection:
        created = await _insert_key(connection, actor, NewApiKey("platform", label[:200]))
    return created.secret


async def list_keys(database: Database, tenant: str, limit: int, cursor: str) -> Page[ApiKey]:
    """List the keys of a tenant or of the platform, newest first, revoked and expired ones as well.

    Raises InvalidInput.
    """
    last_key = pagination.decode_cursor(cursor, int, str)
    order = tuple_(api_keys.c.created_at, api_keys.c.id)
    query = (
        select(api_keys)
        .where(_owned_by(tenant))
        .order_by(api_keys.c.created_at.desc(), api_keys.c.id.desc())
        .limit(limit + 1)
    )
    if last_key:
        query = query.where(order < last_key)
    async with database.read() as connection:
        rows = (await connection.execute(query)).all()
    return pagination.make_page(rows, limit, _from_row, lambda row: (row.created_at, row.id))


async def get_key(database: Database, tenant: str, key_id: str) -> ApiKey:
    """Return one key. Raises NotFound."""
    async with database.read() as connection:
        row = (await connection.execute(select(api_keys).where(_owned_by(tenant), api_keys.c.id == key_id))).first()
    if row is None:
        raise NotFound
    return _from_row(row)


async def revoke_key(database: Database, actor: Actor, key_id: str) -> None:
    """Revoke a key; repeating it has no effect. Raises NotFound, and Conflict for the actor's own key."""
    if key_id == actor.key_id:
        raise Conflict("A key cannot revoke itself: create another key and revoke this one with it.")
    async with database.transaction() as connection:
        row = await _lock_row(connection, actor, key_id)
        if row.revoked_at is not None:
            return
        await connection.execute(update(api_keys).where(api_keys.c.id == key_id).values(revoked_at=actor.now))
        await actor.audit(connection, "api_key.revoked", key_id, _from_row(row))


class KeyOwner(msgspec.Struct, frozen=True):
    """Tenant and role of a valid key. ``tenant`` is empty for platform keys."""

    key_id: str
    tenant: str
    role: Role
    last_used_at: int


async def find_owner(database: Database, token: str, now: int) -> KeyOwner | None:
    """Return the owner of a key that is valid now: known, not revoked, not expired, its tenant not suspended."""
    match = KEY_PATTERN.fullmatch(token)
    if match is None:
        return None
    query = select(api_keys, tenants.c.suspended).outerjoin(tenants, tenants.c.id == api_keys.c.tenant_id)
    async with database.read() as connection:
        row = (await connection.execute(query.where(api_keys.c.id == match[1]))).first()
    is_genuine = hmac.compare_digest(_digest(token), row.digest if row else DUMMY_DIGEST)
    if row is None or not is_genuine or row.suspended or not _is_valid(row, now):
        return None
    return KeyOwner(row.id, row.tenant_id or "", row.role, row.last_used_at or 0)


async def find_owner_by_id(database: Database, key_id: str, now: int) -> KeyOwner | None:
    """Return the owner of a valid key by its id, for tokens that were issued to the holder of the secret."""
    query = select(api_keys, tenants.c.suspended).outerjoin(tenants, tenants.c.id == api_keys.c.tenant_id)
    async with database.read() as connection:
        row = (await connection.execute(query.where(api_keys.c.id == key_id))).first()
    if row is None or row.suspended or not _is_valid(row, now):
        return None
    return KeyOwner(row.id, row.tenant_id or "", row.role, row.last_used_at or 0)


async def filter_valid(database: Database, key_ids: Collection[str], now: int) -> set[str]:
    """Return those of the keys that are valid now."""
    query = select(api_keys, tenants.c.suspended).outerjoin(tenants, tenants.c.id == api_keys.c.tenant_id)
    async with database.read() as connection:
        rows = (await connection.execute(query.where(api_keys.c.id.in_(key_ids)))).all()
    return {row.id for row in rows if not row.suspended and _is_valid(row, now)}


async def touch(database: Database, owner: KeyOwner, now: int) -> None:
    """Update when the key was last used, at most once a minute."""
    if now - owner.last_used_at >= LAST_USED_INTERVAL_MICROSECONDS:
        async with database.transaction() as connection:
            await connection.execute(update(api_keys).where(api_keys.c.id == owner.key_id).values(last_used_at=now))


def _check_new_key(actor: Actor, new: NewApiKey) -> None:
    if not roles.includes(actor.role, new.role):
        raise Forbidden(f"A key with the role {actor.role} cannot create one with the role {new.role}.")
    if new.role == "platform" and actor.tenant:
        problem = Diagnostic("role", "invalid-value", "a platform key belongs to no tenant")
        raise InvalidInput("Invalid API key settings.", [problem])
    if new.role != "platform" and not actor.tenant:
        raise TenantRequired("A key with this role belongs to a tenant: name the tenant.")
    if new.expires_at is not None and new.expires_at <= actor.now:
        raise InvalidInput(
            "Invalid API key settings.", [Diagnostic("expires_at", "invalid-value", "the time is in the past")]
        )


async def _check_quota(connection: AsyncConnection, actor: Actor) -> None:
    """Limit the number of valid keys. The tenant's row is locked, so that concurrent requests cannot exceed it."""
    if actor.tenant:
        await connection.execute(
            select(tenants.c.id).where(tenants.c.id == actor.tenant).with_for_update(key_share=True)
        )
    is_valid = and_(
        _owned_by(actor.tenant),
        api_keys.c.revoked_at.is_(None),
        or_(api_keys.c.expires_at.is_(None), api_keys.c.expires_at > actor.now),
    )
    count = (await connection.execute(select(func.count()).select_from(api_keys).where(is_valid))).scalar_one()
    if count >= MAX_VALID_KEYS:
        raise QuotaExceeded(f"There can be at most {MAX_VALID_KEYS} valid keys. Revoke one first.")


async def _insert_key(connection: AsyncConnection, actor: Actor, new: NewApiKey) -> CreatedApiKey:
    key = secrets.token_hex(8)
    secret = f"voc_{key}_{''.join(secrets.choice(SECRET_ALPHABET) for _ in range(SECRET_LENGTH))}"
    row: dict[str, Any] = {
        "id": key,
        "tenant_id": actor.tenant or None,
        "role": new.role,
        "label": new.label,
        "created_by": actor.key_id,
        "created_at": Instant(actor.now),
        "expires_at": new.expires_at,
        "last_used_at": None,
        "revoked_at": None,
    }
    await connection.execute(insert(api_keys).values(**row, digest=_digest(secret)))
    del row["tenant_id"]
    created = CreatedApiKey(**row, tenant=actor.tenant, secret=secret)
    await actor.audit(connection, "api_key.created", key, after=new)
    return created


async def _lock_row(connection: AsyncConnection, actor: Actor, key_id: str) -> Row[Any]:
    """Lock the key to revoke, and the actor's: of two keys that revoke each other, only the first succeeds."""
    query = select(api_keys).where(api_keys.c.id.in_((key_id, actor.key_id))).order_by(api_keys.c.id).with_for_update()
    rows = {row.id: row for row in await connection.execute(query)}
    if actor.key_id in rows and rows[actor.key_id].revoked_at is not None:
        raise Unauthenticated("The API key is not valid.")
    row = rows.get(key_id)
    if row is None or (row.tenant_id or "") != actor.tenant:
        raise NotFound
    return row


def _owned_by(tenant: str) -> ColumnElement[bool]:
    return api_keys.c.tenant_id == tenant if tenant else api_keys.c.tenant_id.is_(None)


def _is_valid(row: Row[Any], now: int) -> bool:
    return row.revoked_at is None and (row.expires_at is None or row.expires_at > now)


def _from_row(row: Row[Any]) -> ApiKey:
    return ApiKey(
        id=row.id,
        tenant=row.tenant_id or "",
        role=row.role,
        label=row.label,
        created_by=row.created_by,
        created_at=Instant(row.created_at),
        expires_at=Instant.optional(row.expires_at),
        last_used_at=Instant.optional(row.last_used_at),
        revoked_at=Instant.optional(row.revoked_at),
    )


def _digest(token: str) -> str:
    """Hash the whole key, so that a secret is valid for one id only. Random secrets need no slow hash."""
    return hashlib.sha256(token.encode()).hexdigest()
