"""What a minute costs at each voice tier: the platform's defaults, and a tenant's own, which take their place.

A rate counts from the instant it ``begins`` at, until a later one of the same tier does. It never begins in the past:
what a call has cost must not change afterwards.
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
from vocelio.gateway.errors import Conflict, UnprocessableContent
from vocelio.gateway.model.directory import DEFAULT_RATES
from vocelio.gateway.store.audit import Actor
from vocelio.gateway.store.db.database import Database
from vocelio.gateway.store.db.schema import rates, tenants
from vocelio.gateway.store.tenants.tenants import bump_tenant_revision, lock_tenant

MAX_RATES = 500  # of a tenant, past ones included: they are all read for its first call
MAX_MICRO_USD_PER_MINUTE = 100_000_000  # a hundred dollars a minute: whoever asks for more has mistaken the unit
MAX_EFFECTIVE_AT = 4_102_444_800_000_000


class NewRate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a minute at a tier is to cost, in micro-USD, from when on (microseconds UTC; None is from now on)."""

    tier: Tier
    micro_usd_per_minute: Annotated[int, Meta(ge=0, le=MAX_MICRO_USD_PER_MINUTE)]
    effective_at: Annotated[int, Meta(ge=0, le=MAX_EFFECTIVE_AT)] | None = None


class Rate(msgspec.Struct, frozen=True):
    """A rate as it was set: for one tenant (``own``) or for all that have none of their own, when and by which key."""

    tier: Tier
    micro_usd_per_minute: int
    effective_at: int
    own: bool
    created_by: str
    created_at: int


class RateCard(msgspec.Struct, frozen=True):
    """What a minute costs ``now``, by tier, and all rates that make it so, did, or will, by when they begin."""

    current: dict[Tier, int]
    rates: list[Rate]


async def get_rate_card(database: Database, tenant: str, now: int) -> RateCard:
    """A tenant's; the defaults when ``tenant`` is empty."""
    async with database.read() as connection:
        found = await load_rates(connection, tenant)
    return RateCard(effective_rates(found, now), list(found))


async def load_rates(connection: AsyncConnection, tenant: str) -> Sequence[Rate]:
    """A tenant's own rates and the defaults, as they begin."""
    query = select(rates).where(or_(rates.c.tenant_id == tenant, rates.c.tenant_id.is_(None)))
    rows = await connection.execute(query.order_by(rates.c.effective_at, rates.c.created_at, rates.c.id))
    return [_from_row(row) for row in rows]


def effective_rates(known_rates: Iterable[Rate], at: int) -> dict[Tier, int]:
    """What a minute costs at an instant, at each tier: a tenant's own rate comes before any default."""
    begun = [rate for rate in known_rates if rate.effective_at <= at]
    card = DEFAULT_RATES.copy()
    for rate in sorted(begun, key=lambda rate: rate.own):  # stable: as they begin
        card[rate.tier] = rate.micro_usd_per_minute
    return card


async def create_rate(database: Database, actor: Actor, new: NewRate) -> Rate:
    """Set a tenant's own. Raises Invalid, and Conflict when there are too many."""
    async with database.transaction() as connection:
        await lock_tenant(connection, actor.tenant)
        rate = await _insert_rate(connection, actor, new, actor.tenant)
        await bump_tenant_revision(connection, actor.tenant)
    return rate


async def create_default_rate(database: Database, actor: Actor, new: NewRate) -> Rate:
    """Set everybody's. Raises Invalid, and Conflict when there are too many."""
    actor = msgspec.structs.replace(actor, tenant="")  # on the platform's trail, whichever tenant it looks at
    async with database.transaction() as connection:
        rate = await _insert_rate(connection, actor, new, None)
        await connection.execute(update(tenants).values(revision=tenants.c.revision + 1))  # see touch: all of them
    return rate


async def _insert_rate(connection: AsyncConnection, actor: Actor, new: NewRate, tenant: str | None) -> Rate:
    begins = actor.now if new.effective_at is None else new.effective_at
    if begins < actor.now:
        problem = Diagnostic(
            "effective_at", "past", f"a rate begins now ({actor.now}) or later, so that no bill changes"
        )
        raise UnprocessableContent("The rate would change what calls have cost.", [problem])
    where = rates.c.tenant_id == tenant if tenant else rates.c.tenant_id.is_(None)
    if (await connection.scalar(select(func.count()).select_from(rates).where(where)) or 0) >= MAX_RATES:
        raise Conflict(f"There are {MAX_RATES} rates, which is all there can be.")
    before = effective_rates(await load_rates(connection, tenant or ""), begins)[new.tier]
    rate = Rate(new.tier, new.micro_usd_per_minute, begins, tenant is not None, actor.key_id, actor.now)
    row = {field: value for field, value in msgspec.structs.asdict(rate).items() if field != "own"}
    await connection.execute(insert(rates).values(id=secrets.token_hex(12), tenant_id=tenant, **row))
    action = "rate.created" if tenant else "rate.default_created"
    await actor.audit(connection, action, new.tier, {"micro_usd_per_minute": before}, rate)
    return rate


def _from_row(row: Row[Any]) -> Rate:
    own = row.tenant_id is not None
    return Rate(row.tier, row.micro_usd_per_minute, row.effective_at, own, row.created_by, row.created_at)
