"""The dial rules of a tenant with the countries of its own numbers, read from the database."""

from collections.abc import Iterable

import msgspec
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from vocelio.gateway.dialing.validation import (
    AREA_PREFIX_LENGTH,
    MAX_AREAS,
    DialContext,
    DialTarget,
    find_home_countries,
)
from vocelio.gateway.model.tenant import DialRules
from vocelio.gateway.store.db.schema import numbers, tenants


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
