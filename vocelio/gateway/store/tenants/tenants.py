"""Tenants: their settings, and the Twilio account that one may have of its own.

A tenant is never deleted, since its calls and bills are not; it is suspended: its keys are no good then, and its
numbers are answered by nobody.

The dial rules of a tenant with the countries of its own numbers, read from the database.
"""

from collections.abc import Iterable
from functools import cache
from typing import Annotated, Any
from zoneinfo import available_timezones

import msgspec
from msgspec import UNSET, Meta, UnsetType
from sqlalchemy import Row, func, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from vocelio.engine.diagnostics import Diagnostics
from vocelio.engine.voice import Voice
from vocelio.gateway.dialing import rules as dial_rules
from vocelio.gateway.dialing import validation
from vocelio.gateway.dialing.validation import (
    AREA_PREFIX_LENGTH,
    MAX_AREAS,
    DialContext,
    DialTarget,
    find_home_countries,
)
from vocelio.gateway.errors import Conflict, NotFound, UnprocessableContent
from vocelio.gateway.model.tenant import DialRules, Overflow, Tenant
from vocelio.gateway.model.types import (
    CallerMessage,
    ConcurrencyLimit,
    CountryCodes,
    HourlyLimit,
    NumberPrefixes,
    PhoneNumber,
    SipHosts,
    TimeZone,
    TransferSeconds,
)
from vocelio.gateway.store.audit import Actor, dump_json
from vocelio.gateway.store.db import pagination
from vocelio.gateway.store.db.database import Database
from vocelio.gateway.store.db.pagination import Page
from vocelio.gateway.store.db.schema import numbers, tenants


class TenantResource(Tenant, frozen=True, kw_only=True):
    """A tenant. ``account`` is its own of Twilio, empty when its calls come by the platform's."""

    account_sid: str
    suspended: bool
    created_at: int


class TenantUpdate(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is to be different; what is left out stays as it is. See Tenant."""

    name: Annotated[str, Meta(min_length=1, max_length=200)] | UnsetType = UNSET
    time_zone: TimeZone | UnsetType = UNSET
    variables: Annotated[dict[str, str], Meta(max_length=100)] | UnsetType = UNSET
    voice: Voice | UnsetType = UNSET
    error_message: CallerMessage | UnsetType = UNSET
    hold_message: CallerMessage | UnsetType = UNSET
    unavailable_message: CallerMessage | UnsetType = UNSET
    overflow: Overflow | UnsetType = UNSET
    max_concurrent_calls: Annotated[int, Meta(ge=1, le=100_000)] | UnsetType | None = UNSET
    blocked_callers: Annotated[tuple[PhoneNumber, ...], Meta(max_length=10_000)] | UnsetType = UNSET
    allowed_countries: CountryCodes | UnsetType = UNSET
    allowed_prefixes: NumberPrefixes | UnsetType = UNSET
    allowed_sip_hosts: SipHosts | UnsetType = UNSET
    max_transfers_per_hour: HourlyLimit | UnsetType = UNSET
    max_concurrent_transfers: ConcurrencyLimit | UnsetType = UNSET
    max_transfer_seconds: TransferSeconds | UnsetType = UNSET
    record_calls: bool | UnsetType = UNSET
    redact_logs: bool | UnsetType = UNSET


class PlatformTenantUpdate(TenantUpdate, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What only the platform may change, too."""

    suspended: bool | UnsetType = UNSET


async def list_tenants(database: Database, limit: int, cursor: str) -> Page[TenantResource]:
    """All tenants, by id. Raises Invalid."""
    last = pagination.decode_cursor(cursor, str)
    query = select(tenants).order_by(tenants.c.id).limit(limit + 1)
    if last:
        query = query.where(tenants.c.id > last[0])
    async with database.read() as connection:
        rows = (await connection.execute(query)).all()
    return pagination.make_page(rows, limit, _from_row, lambda row: (row.id,))


async def get_tenant(database: Database, tenant: str) -> TenantResource:
    """One tenant. Raises NotFound."""
    async with database.read() as connection:
        return _from_row(await get_row(connection, tenant))


async def load_tenant(connection: AsyncConnection, tenant: str) -> tuple[Tenant, str]:
    """A tenant and its own Twilio account, if it has one. Raises NotFound."""
    row = await get_row(connection, tenant)
    return _tenant_from_row(row), row.account_sid or ""


async def create_tenant(database: Database, actor: Actor, new: Tenant) -> TenantResource:
    """Make a tenant. Raises Invalid, Conflict."""
    _validate(new)
    row = {
        **_to_columns(new),
        "id": new.id,
        "account_sid": None,
        "auth_token": None,
        "revision": 1,
        "suspended": False,
        "created_at": actor.now,
    }
    try:
        async with database.transaction() as connection:
            await connection.execute(insert(tenants), row)
            await _check_overflow(connection, new)
            await _audited(actor, new.id).audit(connection, "tenant.created", new.id, after=new)
            return _from_row(await get_row(connection, new.id))
    except IntegrityError:
        raise Conflict(f"There is a tenant {new.id} already.") from None


async def update_tenant(database: Database, actor: Actor, tenant: str, changes: TenantUpdate) -> TenantResource:
    """Change what is named. Raises NotFound, Invalid."""
    fields = {name: value for name, value in msgspec.structs.asdict(changes).items() if value is not UNSET}
    async with database.transaction() as connection:
        before = _from_row(await get_row(connection, tenant, lock=True))
        after = msgspec.structs.replace(before, **fields)
        if after != before:
            _validate(after)
            if changes.overflow is not UNSET:
                await _check_overflow(connection, after)
            values = {**_to_columns(after), "suspended": after.suspended}
            await connection.execute(update(tenants).where(tenants.c.id == tenant).values(values))
            await bump_tenant_revision(connection, tenant)
            was = {name: getattr(before, name) for name in fields}
            await _audited(actor, tenant).audit(connection, "tenant.updated", tenant, was, fields)
    return after


async def tenant_exists(database: Database, tenant: str) -> bool:
    """Whether there is such a tenant."""
    async with database.read() as connection:
        return (await connection.execute(select(tenants.c.id).where(tenants.c.id == tenant))).first() is not None


async def get_row(connection: AsyncConnection, tenant: str, *, lock: bool = False) -> Row[Any]:
    query = select(tenants).where(tenants.c.id == tenant)
    row = (await connection.execute(query.with_for_update(key_share=True) if lock else query)).first()
    if row is None:
        raise NotFound
    return row


def _validate(tenant: Tenant) -> None:
    """What the fields' types do not say. Raises Invalid."""
    report = Diagnostics()
    if tenant.time_zone and tenant.time_zone not in _time_zones():
        report.unknown_word(
            "time_zone",
            "unknown-time-zone",
            "there is no such time zone",
            tenant.time_zone,
            _suggestions(tenant.time_zone),
        )
    for name, value in tenant.variables.items():
        if len(name) > 64 or len(value) > 1_000:
            report.error("variables", "too-long", "a name has at most 64 characters, a value at most 1000")
    if tenant.overflow.action == "forward" and not tenant.overflow.number:
        report.error("overflow.number", "missing-field", "a forward needs a number")
    dial_rules.validate_dial_rules(tenant, report)
    if report.has_errors:
        raise UnprocessableContent("The tenant's settings have errors.", report.by_path)


async def _check_overflow(connection: AsyncConnection, tenant: Tenant) -> None:
    """Whether calls may be forwarded there. Raises Invalid."""
    if tenant.overflow.action == "forward":
        rules = (await load_dial_context(connection, tenant.id))._replace(rules=tenant)
        if problems := list(validation.check_number(rules, "overflow.number", tenant.overflow.number)):
            raise UnprocessableContent("The tenant's settings have errors.", problems)


@cache
def _time_zones() -> frozenset[str]:
    return frozenset(available_timezones())


def _suggestions(unknown_zone: str) -> list[str]:
    """The time zones of the same part of the world: all are more than a hint is looked for in."""
    area = unknown_zone.partition("/")[0]
    return sorted(zone for zone in _time_zones() if zone.startswith(f"{area}/"))


def _to_columns(tenant: Tenant) -> dict[str, str]:
    settings = {field: getattr(tenant, field) for field in Tenant.__struct_fields__ if field not in ("id", "name")}
    return {"name": tenant.name, "settings": dump_json(settings)}


def _tenant_from_row(row: Row[Any]) -> Tenant:
    return msgspec.convert({"id": row.id, "name": row.name, **msgspec.json.decode(row.settings)}, Tenant)


def _from_row(row: Row[Any]) -> TenantResource:
    fields = msgspec.structs.asdict(_tenant_from_row(row))
    return TenantResource(
        **fields, account_sid=row.account_sid or "", suspended=row.suspended, created_at=row.created_at
    )


def _audited(actor: Actor, tenant: str) -> Actor:
    """The change is on the tenant's own trail, whoever made it."""
    return msgspec.structs.replace(actor, tenant=tenant)


async def lock_tenant(connection: AsyncConnection, tenant: str) -> None:
    """Let nobody else change the tenant's things until the transaction ends: what is read now remains true."""
    query = select(tenants.c.id).where(tenants.c.id == tenant).with_for_update(key_share=True)
    await connection.execute(query)


async def bump_tenant_revision(connection: AsyncConnection, tenant: str) -> None:
    """Say that something has changed which the tenant's next call must know of."""
    await connection.execute(update(tenants).where(tenants.c.id == tenant).values(revision=tenants.c.revision + 1))


async def load_dial_context(
    connection: AsyncConnection, tenant: str, targets: Iterable[DialTarget] = ()
) -> DialContext:
    """A tenant's rules, with those of its numbers that the fields name as caller ids."""
    settings = await connection.scalar(select(tenants.c.settings).where(tenants.c.id == tenant))
    mine = numbers.c.tenant_id == tenant
    area = func.substr(numbers.c.number, 1, AREA_PREFIX_LENGTH)
    areas = select(func.min(numbers.c.number)).where(mine).group_by(area).limit(MAX_AREAS)
    reach = msgspec.json.decode(settings or "{}", type=DialRules)
    ids = sorted({field.value for field in targets if field.field == "caller_id"})
    owned = select(numbers.c.number).where(mine, numbers.c.number.in_(ids))
    own = frozenset((await connection.scalars(owned)).all()) if ids else frozenset[str]()
    return DialContext(reach, find_home_countries((await connection.scalars(areas)).all()), own)


class _VoiceSettings(msgspec.Struct, frozen=True):
    voice: Voice = Voice()


async def get_default_voice(connection: AsyncConnection, tenant: str) -> Voice:
    """Return the voice of flows that name none."""
    settings = await connection.scalar(select(tenants.c.settings).where(tenants.c.id == tenant))
    return msgspec.json.decode(settings or "{}", type=_VoiceSettings).voice
