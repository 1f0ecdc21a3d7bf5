"""Rates: the latest that has begun counts, a tenant's own before the defaults, and none changes the past."""

import msgspec
import pytest

from tests.integration.store.conftest import NOW
from tests.integration.store.things import actions, fill_up, revision, tenant, trail
from vocelio.gateway.errors import Conflict, Invalid
from vocelio.gateway.store.db.schema import rates as table
from vocelio.gateway.store.tenants import rates
from vocelio.gateway.store.tenants.rates import NewRate

DAY = 86_400_000_000


async def card(database, at, name="harbour"):
    return (await rates.every(database, name, at)).now


async def test_where_nothing_is_set_the_platforms_prices_count(database, actor):
    await tenant(database, actor)
    found = await rates.every(database, "harbour", NOW)
    assert found.now == {"local": 0, "azure": 80_000, "elevenlabs": 350_000}
    assert found.rates == []


async def test_a_rate_counts_from_its_instant_on_and_the_latest_of_all_counts(database, actor):
    harbour = await tenant(database, actor)
    before = await revision(database)
    now = await rates.put(database, harbour, NewRate("azure", 70_000))
    assert now.begins == harbour.at
    await rates.put(database, harbour, NewRate("azure", 50_000, harbour.at + 2 * DAY))
    await rates.put(database, harbour, NewRate("azure", 60_000, harbour.at + DAY))
    days = [harbour.at - 1, harbour.at, harbour.at + DAY - 1, harbour.at + DAY, harbour.at + 2 * DAY]
    assert [(await card(database, at))["azure"] for at in days] == [80_000, 70_000, 70_000, 60_000, 50_000]
    assert await revision(database) == before + 3
    assert [line[2]["micro_usd_per_minute"] for line in (await trail(database))[1:]] == [80_000, 70_000, 70_000]


async def test_a_tenants_own_rate_comes_before_a_later_default_and_is_nobody_elses(database, actor):
    harbour, museum = await tenant(database, actor), await tenant(database, actor, "museum")
    revisions = [await revision(database, name) for name in ("harbour", "museum")]
    platform = actor("", "platform")
    await rates.put(database, harbour, NewRate("azure", 70_000))
    await rates.put_default(database, platform, NewRate("azure", 90_000))
    await rates.put_default(database, actor("museum", "platform"), NewRate("local", 1))
    later = NOW + DAY
    assert await card(database, later) == {"local": 1, "azure": 70_000, "elevenlabs": 350_000}
    assert await card(database, later, "museum") == {"local": 1, "azure": 90_000, "elevenlabs": 350_000}
    assert await card(database, later, "") == await card(database, later, "museum")
    assert [rate.own for rate in (await rates.every(database, "museum", later)).rates] == [False, False]
    assert [await revision(database, name) for name in ("harbour", "museum")] == [revisions[0] + 3, revisions[1] + 2]
    assert await actions(database, "museum") == []
    assert [line[0] for line in await trail(database, None)] == ["rate.default_set"] * 2
    assert museum.tenant == "museum"


async def test_of_two_rates_from_the_same_instant_the_one_set_later_counts(database, actor):
    await tenant(database, actor)
    for price in (70_000, 60_000, 65_000):
        await rates.put(database, actor(), NewRate("azure", price, NOW + DAY))
    assert (await card(database, NOW + DAY))["azure"] == 65_000


async def test_no_rate_begins_in_the_past(database, actor):
    harbour = await tenant(database, actor)
    for put, one in ((rates.put, harbour), (rates.put_default, actor("", "platform"))):
        with pytest.raises(Invalid) as refused:
            await put(database, one, NewRate("azure", 1, one.at - 1))
        assert refused.value.errors[0].path == "begins"
    assert (await rates.every(database, "harbour", NOW + DAY)).rates == []


async def test_rates_are_bounded(database, actor):
    await tenant(database, actor)
    row = {"tenant_id": "harbour", "tier": "azure", "micro_usd_per_minute": 1, "begins": 1, "by": "", "created": 1}
    await fill_up(database, table, [row | {"id": str(place)} for place in range(499)])
    await rates.put(database, actor(), NewRate("azure", 1))
    with pytest.raises(Conflict):
        await rates.put(database, actor(), NewRate("azure", 2))
    await rates.put_default(database, actor("", "platform"), NewRate("azure", 2))


@pytest.mark.parametrize("wrong", [{"tier": "gold"}, {"micro_usd_per_minute": -1}, {"begins": 2**63}])
def test_what_is_no_rate(wrong):
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"tier": "azure", "micro_usd_per_minute": 1} | wrong, NewRate)
