"""Rates: the price of a minute at each voice tier. A tenant's own rates take precedence over the platform's defaults.

A rate applies from ``effective_at`` until a later one of the same tier does. It never starts in the past, because the
cost of past calls must not change.
"""

import secrets
from collections.abc import Iterable, Sequence
from typing import Annotated, Any

import msgspec
from msgspec import Meta
from sqlalchemy import Row, func, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from vocelio.engine.diagnostics import Diagnostic
from vocelio.engine.voice import Tier
from vocelio.gateway.clock import Instant
from vocelio.gateway.errors import InvalidInput, QuotaExceeded
from vocelio.gateway.model.directory import DEFAULT_RATES
from vocelio.gateway.store.audit import Actor
from vocelio.gateway.store.db.database import Database
from vocelio.gateway.store.db.schema import rates, tenants
from vocelio.gateway.store.tenants.tenants import bump_tenant_revision, lock_tenant

MAX_RATES = 500  # of a tenant, past ones included: all are loaded for its first call
MAX_MICRO_USD_PER_MINUTE = 100_000_000  # 100 USD: more than that is a mistaken unit
MAX_EFFECTIVE_AT = 4_102_444_800_000_000  # the year 2100

_EFFECTIVE_AT_MESSAGE = "a rate starts now or later, and before the year 2100"


class NewRate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The price of a minute at a tier, in micro-USD, from ``effective_at`` (null is now) on."""

    tier: Tier
    micro_usd_per_minute: Annotated[int, Meta(ge=0, le=MAX_MICRO_USD_PER_MINUTE)]
    effective_at: Instant | None = None


class Rate(msgspec.Struct, frozen=True):
    """A rate of the tenant (``own``) or a default of the platform, with the time and the key that created it."""

    tier: Tier
    micro_usd_per_minute: int
    effective_at: Instant
    own: bool
    created_by: str
    created_at: Instant


class RateCard(msgspec.Struct, frozen=True):
    """The ``current`` price of a minute by tier, and all rates, past and future, in the order they take effect."""

    current: dict[Tier, int]
    rates: list[Rate]


async def get_rate_card(database: Database, tenant: str, now: int) -> RateCard:
    """Return a tenant's rates, or with an empty ``tenant`` the defaults."""
    async with database.read() as connection:
        loaded = await load_rates(connection, tenant)
    return RateCard(effective_rates(loaded, now), list(loaded))


async def load_rates(connection: AsyncConnection, tenant: str) -> Sequence[Rate]:
    """Return a tenant's own rates and the defaults, in the order in which they take effect."""
    query = select(rates).where(or_(rates.c.tenant_id == tenant, rates.c.tenant_id.is_(None)))
    rows = await connection.execute(query.order_by(rates.c.effective_at, rates.c.created_at, rates.c.id))
    return [_from_row(row) for row in rows]


def effective_rates(all_rates: Iterable[Rate], at: int) -> dict[Tier, int]:
    """Return the price of a minute at each tier at an instant: a tenant's own rate takes precedence over a default."""
    started = [rate for rate in all_rates if rate.effective_at <= at]
    prices = DEFAULT_RATES.copy()
    for rate in sorted(started, key=lambda rate: rate.own):  # stable: later ones last
        prices[rate.tier] = rate.micro_usd_per_minute
    return prices


async def create_rate(database: Database, actor: Actor, new: NewRate) -> Rate:
    """Create a rate of the tenant. Raises InvalidInput, QuotaExceeded."""
    async with database.transaction() as connection:
        await lock_tenant(connection, actor.tenant)
        rate = await _insert_rate(connection, actor, new, actor.tenant)
        await bump_tenant_revision(connection, actor.tenant)
    return rate


async def create_default_rate(database: Database, actor: Actor, new: NewRate) -> Rate:
    """Create a default rate. Raises InvalidInput, QuotaExceeded."""
    actor = msgspec.structs.replace(actor, tenant="")  # audited for the platform, even if the request names a tenant
    async with database.transaction() as connection:
        rate = await _insert_rate(connection, actor, new, None)
        await connection.execute(
            update(tenants).values(revision=tenants.c.revision + 1)
        )  # every tenant must reload its rates
    return rate


async def _insert_rate(connection: AsyncConnection, actor: Actor, new: NewRate, tenant: str | None) -> Rate:
    effective_at = Instant(actor.now) if new.effective_at is None else new.effective_at
    if not actor.now <= effective_at <= MAX_EFFECTIVE_AT:
        problem = Diagnostic("effective_at", "past" if effective_at < actor.now else "too-large", _EFFECTIVE_AT_MESSAGE)
        raise InvalidInput("A rate cannot start at that instant.", [problem])
    where = rates.c.tenant_id == tenant if tenant else rates.c.tenant_id.is_(None)
    if (await connection.scalar(select(func.count()).select_from(rates).where(where)) or 0) >= MAX_RATES:
        raise QuotaExceeded(f"There can be at most {MAX_RATES} rates.")
    previous_price = effective_rates(await load_rates(connection, tenant or ""), effective_at)[new.tier]
    rate = Rate(new.tier, new.micro_usd_per_minute, effective_at, tenant is not None, actor.key_id, Instant(actor.now))
    row = {field: value for field, value in msgspec.structs.asdict(rate).items() if field != "own"}
    await connection.execute(insert(rates).values(id=secrets.token_hex(12), tenant_id=tenant, **row))
    action = "rate.created" if tenant else "rate.default_created"
    await actor.audit(connection, action, new.tier, {"micro_usd_per_minute": previous_price}, rate)
    return rate


def _from_row(row: Row[Any]) -> Rate:
    own = row.tenant_id is not None
    return Rate(
        row.tier, row.micro_usd_per_minute, Instant(row.effective_at), own, row.created_by, Instant(row.created_at)
    )
