"""Tenants: settings, suspension, the revision that invalidates caches, and the dial rules with a tenant's own numbers.

A tenant is never deleted, because its calls and bills are kept. It is suspended instead: its keys are invalid and its
numbers are not answered.
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
from vocelio.gateway.clock import Instant
from vocelio.gateway.dialing import rules as dial_rules
from vocelio.gateway.dialing import validation
from vocelio.gateway.dialing.validation import (
    AREA_PREFIX_LENGTH,
    MAX_AREAS,
    DialContext,
    DialTarget,
    find_home_countries,
)
from vocelio.gateway.errors import AlreadyExists, InvalidInput, NotFound
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
    """A tenant. ``account_sid`` is its own Twilio account, empty when its calls use the platform's."""

    account_sid: str
    suspended: bool
    created_at: Instant


class TenantUpdate(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The settings to change; fields that are left out keep their values. See Tenant."""

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
    """The settings to change, with those that only the platform may change."""

    suspended: bool | UnsetType = UNSET


async def list_tenants(database: Database, limit: int, cursor: str) -> Page[TenantResource]:
    """List all tenants, by id. Raises InvalidInput."""
    last = pagination.decode_cursor(cursor, str)
    query = select(tenants).order_by(tenants.c.id).limit(limit + 1)
    if last:
        query = query.where(tenants.c.id > last[0])
    async with database.read() as connection:
        rows = (await connection.execute(query)).all()
    return pagination.make_page(rows, limit, _from_row, lambda row: (row.id,))


async def get_tenant(database: Database, tenant: str) -> TenantResource:
    """Return one tenant. Raises NotFound."""
    async with database.read() as connection:
        return _from_row(await get_row(connection, tenant))


async def load_tenant(connection: AsyncConnection, tenant: str) -> Tenant:
    """Return a tenant. Raises NotFound."""
    return _tenant_from_row(await get_row(connection, tenant))


async def create_tenant(database: Database, actor: Actor, new: Tenant) -> TenantResource:
    """Create a tenant. Raises InvalidInput, AlreadyExists."""
    _validate(new)
    values = {
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
            await connection.execute(insert(tenants), values)
            await _check_overflow(connection, new)
            await _audited(actor, new.id).audit(connection, "tenant.created", new.id, after=new)
            return _from_row(await get_row(connection, new.id))
    except IntegrityError:
        raise AlreadyExists(f"The tenant {new.id} already exists.") from None


async def update_tenant(database: Database, actor: Actor, tenant: str, changes: TenantUpdate) -> TenantResource:
    """Change the given settings. Raises NotFound, InvalidInput."""
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
            previous = {name: getattr(before, name) for name in fields}
            await _audited(actor, tenant).audit(connection, "tenant.updated", tenant, previous, fields)
    return after


async def tenant_exists(database: Database, tenant: str) -> bool:
    async with database.read() as connection:
        return (await connection.execute(select(tenants.c.id).where(tenants.c.id == tenant))).first() is not None


async def get_row(connection: AsyncConnection, tenant: str, *, lock: bool = False) -> Row[Any]:
    """Return a tenant's row, locked if asked. Raises NotFound."""
    query = select(tenants).where(tenants.c.id == tenant)
    row = (await connection.execute(query.with_for_update(key_share=True) if lock else query)).first()
    if row is None:
        raise NotFound
    return row


def _validate(tenant: Tenant) -> None:
    """Check what the types of the fields cannot express. Raises InvalidInput."""
    report = Diagnostics()
    if tenant.time_zone and tenant.time_zone not in _time_zones():
        report.unknown_word(
            "time_zone",
            "unknown-time-zone",
            "unknown time zone",
            tenant.time_zone,
            _suggestions(tenant.time_zone),
        )
    for name, value in tenant.variables.items():
        if len(name) > 64 or len(value) > 1_000:
            report.error("variables", "too-long", "a name has at most 64 characters, a value at most 1000")
    if tenant.overflow.action == "forward" and not tenant.overflow.number:
        report.error("overflow.number", "missing-field", "forwarding needs a number")
    dial_rules.validate_dial_rules(tenant, report)
    if report.has_errors:
        raise InvalidInput("Invalid tenant settings.", report.by_path)


async def _check_overflow(connection: AsyncConnection, tenant: Tenant) -> None:
    """Check that calls may be forwarded to the overflow number. Raises InvalidInput."""
    if tenant.overflow.action == "forward":
        rules = (await load_dial_context(connection, tenant.id))._replace(rules=tenant)
        if problems := list(validation.check_number(rules, "overflow.number", tenant.overflow.number)):
            raise InvalidInput("Invalid tenant settings.", problems)


@cache
def _time_zones() -> frozenset[str]:
    return frozenset(available_timezones())


def _suggestions(unknown_zone: str) -> list[str]:
    """Return the time zones of the same area: among all zones there would be no close match to suggest."""
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
        **fields, account_sid=row.account_sid or "", suspended=row.suspended, created_at=Instant(row.created_at)
    )


def _audited(actor: Actor, tenant: str) -> Actor:
    """Return the actor with the tenant, so that the change is in the tenant's own audit log."""
    return msgspec.structs.replace(actor, tenant=tenant)


async def lock_tenant(connection: AsyncConnection, tenant: str) -> None:
    """Lock the tenant's row until the transaction ends, so that its resources cannot change meanwhile."""
    query = select(tenants.c.id).where(tenants.c.id == tenant).with_for_update(key_share=True)
    await connection.execute(query)


async def bump_tenant_revision(connection: AsyncConnection, tenant: str) -> None:
    """Raise the tenant's revision, so that every process reloads the tenant for the next call."""
    await connection.execute(update(tenants).where(tenants.c.id == tenant).values(revision=tenants.c.revision + 1))


async def load_dial_context(
    connection: AsyncConnection, tenant: str, targets: Iterable[DialTarget] = ()
) -> DialContext:
    """Return a tenant's dial rules, its home countries, and those of its numbers that are caller ids of ``targets``."""
    settings = await connection.scalar(select(tenants.c.settings).where(tenants.c.id == tenant))
    is_own = numbers.c.tenant_id == tenant
    area_prefix = func.substr(numbers.c.number, 1, AREA_PREFIX_LENGTH)
    area_query = select(func.min(numbers.c.number)).where(is_own).group_by(area_prefix).limit(MAX_AREAS)
    rules = msgspec.json.decode(settings or "{}", type=DialRules)
    caller_ids = sorted({field.value for field in targets if field.field == "caller_id"})
    own_query = select(numbers.c.number).where(is_own, numbers.c.number.in_(caller_ids))
    own_numbers = frozenset((await connection.scalars(own_query)).all()) if caller_ids else frozenset[str]()
    return DialContext(rules, find_home_countries((await connection.scalars(area_query)).all()), own_numbers)


class _VoiceSettings(msgspec.Struct, frozen=True):
    voice: Voice = Voice()


async def get_default_voice(connection: AsyncConnection, tenant: str) -> Voice:
    """Return the voice of flows that name none."""
    settings = await connection.scalar(select(tenants.c.settings).where(tenants.c.id == tenant))
    return msgspec.json.decode(settings or "{}", type=_VoiceSettings).voice
