"""Rates: the latest one in effect applies, a tenant's own before the defaults, and none changes the past."""

import msgspec
import pytest

from tests.integration.conftest import NOW
from tests.support.tenant_fixtures import audit_actions, audit_entries, create_tenant, insert_rows, tenant_revision
from vocelio.gateway.errors import Conflict, InvalidInput
from vocelio.gateway.store.db.schema import rates as table
from vocelio.gateway.store.tenants import rates
from vocelio.gateway.store.tenants.rates import NewRate

DAY = 86_400_000_000


async def rate_card(database, at, name="harbour"):
    return (await rates.get_rate_card(database, name, at)).current


async def test_built_in_prices_apply_without_rates(database, make_actor):
    await create_tenant(database, make_actor)
    card = await rates.get_rate_card(database, "harbour", NOW)
    assert card.current == {"local": 0, "azure": 80_000, "elevenlabs": 350_000}
    assert card.rates == []


async def test_latest_rate_in_effect_applies(database, make_actor):
    harbour = await create_tenant(database, make_actor)
    before = await tenant_revision(database)
    now = await rates.create_rate(database, harbour, NewRate("azure", 70_000))
    assert now.effective_at == harbour.now
    await rates.create_rate(database, harbour, NewRate("azure", 50_000, harbour.now + 2 * DAY))
    await rates.create_rate(database, harbour, NewRate("azure", 60_000, harbour.now + DAY))
    days = [harbour.now - 1, harbour.now, harbour.now + DAY - 1, harbour.now + DAY, harbour.now + 2 * DAY]
    assert [(await rate_card(database, at))["azure"] for at in days] == [80_000, 70_000, 70_000, 60_000, 50_000]
    assert await tenant_revision(database) == before + 3
    assert [line[2]["micro_usd_per_minute"] for line in (await audit_entries(database))[1:]] == [80_000, 70_000, 70_000]


async def test_own_rate_takes_precedence_over_a_later_default_for_its_tenant_only(database, make_actor):
    harbour, museum = await create_tenant(database, make_actor), await create_tenant(database, make_actor, "museum")
    revisions = [await tenant_revision(database, name) for name in ("harbour", "museum")]
    platform = make_actor("", "platform")
    await rates.create_rate(database, harbour, NewRate("azure", 70_000))
    await rates.create_default_rate(database, platform, NewRate("azure", 90_000))
    await rates.create_default_rate(database, make_actor("museum", "platform"), NewRate("local", 1))
    later = NOW + DAY
    assert await rate_card(database, later) == {"local": 1, "azure": 70_000, "elevenlabs": 350_000}
    assert await rate_card(database, later, "museum") == {"local": 1, "azure": 90_000, "elevenlabs": 350_000}
    assert await rate_card(database, later, "") == await rate_card(database, later, "museum")
    assert [rate.own for rate in (await rates.get_rate_card(database, "museum", later)).rates] == [False, False]
    assert [await tenant_revision(database, name) for name in ("harbour", "museum")] == [
        revisions[0] + 3,
        revisions[1] + 2,
    ]
    assert await audit_actions(database, "museum") == []
    assert [line[0] for line in await audit_entries(database, None)] == ["rate.default_created"] * 2
    assert museum.tenant == "museum"


async def test_last_created_of_rates_with_the_same_time_applies(database, make_actor):
    await create_tenant(database, make_actor)
    for price in (70_000, 60_000, 65_000):
        await rates.create_rate(database, make_actor(), NewRate("azure", price, NOW + DAY))
    assert (await rate_card(database, NOW + DAY))["azure"] == 65_000


async def test_rate_in_the_past_is_rejected(database, make_actor):
    harbour = await create_tenant(database, make_actor)
    for put, item in ((rates.create_rate, harbour), (rates.create_default_rate, make_actor("", "platform"))):
        with pytest.raises(InvalidInput) as refused:
            await put(database, item, NewRate("azure", 1, item.now - 1))
        assert refused.value.errors[0].path == "effective_at"
    assert (await rates.get_rate_card(database, "harbour", NOW + DAY)).rates == []


async def test_number_of_rates_is_limited(database, make_actor):
    await create_tenant(database, make_actor)
    row = {
        "tenant_id": "harbour",
        "tier": "azure",
        "micro_usd_per_minute": 1,
        "effective_at": 1,
        "created_by": "",
        "created_at": 1,
    }
    await insert_rows(database, table, [row | {"id": str(place)} for place in range(499)])
    await rates.create_rate(database, make_actor(), NewRate("azure", 1))
    with pytest.raises(Conflict):
        await rates.create_rate(database, make_actor(), NewRate("azure", 2))
    await rates.create_default_rate(database, make_actor("", "platform"), NewRate("azure", 2))


@pytest.mark.parametrize("wrong", [{"tier": "gold"}, {"micro_usd_per_minute": -1}, {"effective_at": 2**63}])
def test_invalid_rate_is_rejected(wrong):
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"tier": "azure", "micro_usd_per_minute": 1} | wrong, NewRate)
