"""Tenants: their settings, and the Twilio account that one may have of its own.

A tenant is never deleted, since its calls and bills are not; it is suspended: its keys are no good then, and its
numbers are answered by nobody.
"""

from functools import cache
from typing import Annotated, Any
from zoneinfo import available_timezones

import msgspec
from msgspec import UNSET, Meta, UnsetType
from sqlalchemy import Row, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from vocelio.engine.diagnostics import Report
from vocelio.engine.voice import Voice
from vocelio.gateway.crypto.encryption import Vault
from vocelio.gateway.dialing import rules as dial_rules
from vocelio.gateway.dialing import validation
from vocelio.gateway.errors import Conflict, Invalid, NotFound
from vocelio.gateway.model.tenant import Overflow, Tenant
from vocelio.gateway.model.types import (
    END,
    AtOnce,
    BridgeSeconds,
    Countries,
    Hosts,
    PerHour,
    PhoneNumber,
    Prefixes,
    Sentence,
    TimeZone,
)
from vocelio.gateway.store.audit.actor import Actor, to_json
from vocelio.gateway.store.db import pagination
from vocelio.gateway.store.db.database import Database
from vocelio.gateway.store.db.pagination import Items
from vocelio.gateway.store.db.schema import tenants
from vocelio.gateway.store.provisioning import queue
from vocelio.gateway.store.tenants import dial_context
from vocelio.gateway.store.tenants.departments import touch

AccountSid = Annotated[str, Meta(pattern=f"^AC[0-9a-f]{{32}}{END}", description="a Twilio account: AC...")]


class KnownTenant(Tenant, frozen=True, kw_only=True):
    """A tenant. ``account`` is its own of Twilio, empty when its calls come by the platform's."""

    account: str
    suspended: bool
    created: int


class TenantChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is to be different; what is left out stays as it is. See Tenant."""

    name: Annotated[str, Meta(min_length=1, max_length=200)] | UnsetType = UNSET
    time_zone: TimeZone | UnsetType = UNSET
    variables: Annotated[dict[str, str], Meta(max_length=100)] | UnsetType = UNSET
    voice: Voice | UnsetType = UNSET
    apology: Sentence | UnsetType = UNSET
    hold: Sentence | UnsetType = UNSET
    pause: Sentence | UnsetType = UNSET
    overflow: Overflow | UnsetType = UNSET
    max_calls: Annotated[int, Meta(ge=1, le=100_000)] | UnsetType | None = UNSET
    blocked: Annotated[tuple[PhoneNumber, ...], Meta(max_length=10_000)] | UnsetType = UNSET
    countries: Countries | UnsetType = UNSET
    destinations: Prefixes | UnsetType = UNSET
    sip_hosts: Hosts | UnsetType = UNSET
    max_transfers_per_hour: PerHour | UnsetType = UNSET
    max_transfers_at_once: AtOnce | UnsetType = UNSET
    max_transfer_seconds: BridgeSeconds | UnsetType = UNSET
    record_calls: bool | UnsetType = UNSET
    redact: bool | UnsetType = UNSET


class PlatformChange(TenantChange, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What only the platform may change, too."""

    suspended: bool | UnsetType = UNSET


class Account(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A Twilio account: its SID and its auth token, by which the account's webhooks are signed."""

    account: AccountSid
    token: Annotated[str, Meta(min_length=16, max_length=200, pattern=f"^[!-~]+{END}")]


async def every(database: Database, limit: int, cursor: str) -> Items[KnownTenant]:
    """All tenants, by id. Raises Invalid."""
    last = pagination.after(cursor, str)
    query = select(tenants).order_by(tenants.c.id).limit(limit + 1)
    if last:
        query = query.where(tenants.c.id > last[0])
    async with database.reading() as connection:
        rows = (await connection.execute(query)).all()
    return pagination.cut(rows, limit, _known, lambda row: (row.id,))


async def show(database: Database, tenant: str) -> KnownTenant:
    """One tenant. Raises NotFound."""
    async with database.reading() as connection:
        return _known(await _row(connection, tenant))


async def read(connection: AsyncConnection, tenant: str) -> tuple[Tenant, str]:
    """A tenant and its own Twilio account, if it has one. Raises NotFound."""
    row = await _row(connection, tenant)
    return _tenant(row), row.account or ""


async def create(database: Database, actor: Actor, new: Tenant) -> KnownTenant:
    """Make a tenant. Raises Invalid, Conflict."""
    _check(new)
    row = {
        **_columns(new),
        "id": new.id,
        "account": None,
        "auth_token": None,
        "revision": 1,
        "suspended": False,
        "created": actor.at,
    }
    try:
        async with database.writing() as connection:
            await connection.execute(insert(tenants), row)
            await _check_overflow(connection, new)
            await _as_of(actor, new.id).record(connection, "tenant.created", new.id, after=new)
            return _known(await _row(connection, new.id))
    except IntegrityError:
        raise Conflict(f"There is a tenant {new.id} already.") from None


async def change(database: Database, actor: Actor, tenant: str, wanted: TenantChange) -> KnownTenant:
    """Change what is named. Raises NotFound, Invalid."""
    fields = {name: value for name, value in msgspec.structs.asdict(wanted).items() if value is not UNSET}
    async with database.writing() as connection:
        before = _known(await _row(connection, tenant, lock=True))
        after = msgspec.structs.replace(before, **fields)
        if after != before:
            _check(after)
            if wanted.overflow is not UNSET:
                await _check_overflow(connection, after)
            values = {**_columns(after), "suspended": after.suspended}
            await connection.execute(update(tenants).where(tenants.c.id == tenant).values(values))
            await touch(connection, tenant)
            was = {name: getattr(before, name) for name in fields}
            await _as_of(actor, tenant).record(connection, "tenant.changed", tenant, was, fields)
    return after


async def set_account(database: Database, vault: Vault, actor: Actor, account: Account) -> None:
    """The tenant's calls come by that Twilio account. Raises Conflict."""
    values: dict[str, str | None] = {
        "account": account.account,
        "auth_token": vault.lock(account.token, _purpose(actor.tenant)),
    }
    try:
        async with database.writing() as connection:
            await _set_account(connection, actor, values)
    except IntegrityError:
        raise Conflict("The account is in use: it can be one tenant's only.") from None


async def remove_account(database: Database, actor: Actor) -> None:
    """The tenant's calls come by the platform's account. Raises NotFound."""
    async with database.writing() as connection:
        if (await _row(connection, actor.tenant, lock=True)).account is None:
            raise NotFound
        await _set_account(connection, actor, {"account": None, "auth_token": None})


async def token(database: Database, vault: Vault, account: str) -> str | None:
    """The auth token of a Twilio account, if it is a tenant's. Raises VaultError."""
    query = select(tenants.c.id, tenants.c.auth_token).where(tenants.c.account == account)
    async with database.reading() as connection:
        row = (await connection.execute(query)).first()
    return vault.open(row.auth_token, _purpose(row.id)) if row else None


async def own_account(database: Database, vault: Vault, tenant: str) -> Account | None:
    """A tenant's own Twilio account with its token, if it has one. Raises VaultError."""
    query = select(tenants.c.account, tenants.c.auth_token).where(tenants.c.id == tenant)
    async with database.reading() as connection:
        row = (await connection.execute(query)).first()
    return Account(row.account, vault.open(row.auth_token, _purpose(tenant))) if row and row.account else None


async def exists(database: Database, tenant: str) -> bool:
    """Whether there is such a tenant."""
    async with database.reading() as connection:
        return (await connection.execute(select(tenants.c.id).where(tenants.c.id == tenant))).first() is not None


async def _row(connection: AsyncConnection, tenant: str, *, lock: bool = False) -> Row[Any]:
    query = select(tenants).where(tenants.c.id == tenant)
    row = (await connection.execute(query.with_for_update(key_share=True) if lock else query)).first()
    if row is None:
        raise NotFound
    return row


async def _set_account(connection: AsyncConnection, actor: Actor, values: dict[str, str | None]) -> None:
    before = (await _row(connection, actor.tenant, lock=True)).account
    await connection.execute(update(tenants).where(tenants.c.id == actor.tenant).values(values))
    await touch(connection, actor.tenant)
    await queue.look_again(connection, actor.tenant, actor.at)
    shown = {"account": before}, {"account": values["account"]}
    await actor.record(connection, "tenant.account_changed", actor.tenant, *shown)


def _check(tenant: Tenant) -> None:
    """What the fields' types do not say. Raises Invalid."""
    report = Report()
    if tenant.time_zone and tenant.time_zone not in _time_zones():
        report.unknown(
            "time_zone", "unknown-time-zone", "there is no such time zone", tenant.time_zone, _near(tenant.time_zone)
        )
    for name, value in tenant.variables.items():
        if len(name) > 64 or len(value) > 1_000:
            report.error("variables", "too-long", "a name has at most 64 characters, a value at most 1000")
    if tenant.overflow.do == "forward" and not tenant.overflow.number:
        report.error("overflow.number", "missing", "a forward needs a number")
    dial_rules.check(tenant, report)
    if report.failed:
        raise Invalid("The tenant's settings have errors.", report.problems)


async def _check_overflow(connection: AsyncConnection, tenant: Tenant) -> None:
    """Whether calls may be forwarded there. Raises Invalid."""
    if tenant.overflow.do == "forward":
        rules = (await dial_context.read(connection, tenant.id))._replace(reach=tenant)
        if problems := list(validation.of_number(rules, "overflow.number", tenant.overflow.number)):
            raise Invalid("The tenant's settings have errors.", problems)


@cache
def _time_zones() -> frozenset[str]:
    return frozenset(available_timezones())


def _near(wrong: str) -> list[str]:
    """The time zones of the same part of the world: all are more than a hint is looked for in."""
    area = wrong.partition("/")[0]
    return sorted(zone for zone in _time_zones() if zone.startswith(f"{area}/"))


def _columns(tenant: Tenant) -> dict[str, str]:
    settings = {field: getattr(tenant, field) for field in Tenant.__struct_fields__ if field not in ("id", "name")}
    return {"name": tenant.name, "settings": to_json(settings)}


def _tenant(row: Row[Any]) -> Tenant:
    return msgspec.convert({"id": row.id, "name": row.name, **msgspec.json.decode(row.settings)}, Tenant)


def _known(row: Row[Any]) -> KnownTenant:
    fields = msgspec.structs.asdict(_tenant(row))
    return KnownTenant(**fields, account=row.account or "", suspended=row.suspended, created=row.created)


def _as_of(actor: Actor, tenant: str) -> Actor:
    """The change is on the tenant's own trail, whoever made it."""
    return msgspec.structs.replace(actor, tenant=tenant)


def _purpose(tenant: str) -> str:
    return f"{tenant}/twilio"
