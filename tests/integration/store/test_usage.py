"""Usage: however it is grouped, it adds up to the cost of the calls."""

import csv
import io
from collections import defaultdict
from datetime import UTC, date, datetime, timedelta
from itertools import combinations

import pytest
from msgspec import UNSET, ValidationError, convert

from tests.integration.conftest import NOW
from tests.support.generated_calls import DAY, TODAY, insert_calls, make_call, make_random_call, new_rng
from vocelio.gateway.api.resources.usage_csv import to_csv
from vocelio.gateway.errors import InvalidInput
from vocelio.gateway.store.audit import Actor
from vocelio.gateway.store.calls.usage import UsageQuery, UsageReport, UsageRow, UsageTotals, query_usage

KEYS = ("tenant", "flow", "number", "tier", "day")
TODAYS_DATE = datetime.fromtimestamp(TODAY / 1e6, UTC).date()
PLATFORM = Actor("key0", "platform", "", "request-1", NOW)


def group_key(item, tier, by):
    day = datetime.fromtimestamp(item.row["started_at"] // 1_000_000, UTC).date()
    facts = {"tenant": item.tenant, "flow": item.row["flow_id"], "number": item.row["number"], "tier": tier, "day": day}
    return tuple(facts[key] for key in by)


def expected_sums(kept, by):
    """Count the calls and sum their billed time per group, by a loop."""
    sums = defaultdict(lambda: [set(), 0])
    for item in kept:
        for tier, spent in item.segments:
            group = sums[group_key(item, tier, by)]
            group[0].add((item.tenant, item.row["id"]))
            group[1] += spent
    return {key: (len(calls), billed) for key, (calls, billed) in sums.items()}


@pytest.mark.parametrize("seed", range(3))
async def test_every_grouping_adds_up_to_the_cost_of_the_calls(database, seed, make_actor):
    rng = new_rng(seed)
    all_calls = [make_random_call(place // 2, rng, ("harbour", "depot")[place % 2]) for place in range(160)]
    await insert_calls(database, *all_calls)
    since, until = TODAYS_DATE - timedelta(6), TODAYS_DATE - timedelta(1)
    within = [item for item in all_calls if TODAY - 6 * DAY <= item.row["started_at"] < TODAY]
    for by in (by for size in (1, 2, 5) for by in combinations(KEYS, size)):
        for who, kept in ((PLATFORM, within), (make_actor(), [item for item in within if item.tenant == "harbour"])):
            report = await query_usage(database, who, UsageQuery(",".join(reversed(by)), since, until))
            rows = {tuple(getattr(row, key) for key in by): (row.calls, row.billed_microseconds) for row in report.rows}
            assert rows == expected_sums(kept, by)
            assert list(rows) == sorted(rows)
            assert len(rows) == len(report.rows)
            billed = sum(item.row["billed_microseconds"] for item in kept)
            started = sum(item.row["version"] is not None for item in kept)
            cost = sum(item.row["cost_micro_usd"] for item in kept)
            assert report.total == UsageTotals(
                calls=started, billed_microseconds=billed, billed_seconds=billed / 1e6, cost_micro_usd=cost
            )
            assert sum(row.cost_micro_usd for row in report.rows) == cost


async def test_call_at_two_tiers_counts_in_both_rows_and_once_in_the_total(database, make_actor):
    segments = [("azure", 30_000_000), ("local", 10_000_000), ("azure", 15_000_001)]
    await insert_calls(database, make_call(segments=segments))
    report = await query_usage(database, make_actor(), UsageQuery("tier", TODAYS_DATE, TODAYS_DATE))
    assert report.rows == [
        UsageRow(
            tier="azure", calls=1, billed_microseconds=45_000_001, billed_seconds=45.000001, cost_micro_usd=60_000
        ),
        UsageRow(tier="local", calls=1, billed_microseconds=10_000_000, billed_seconds=10.0, cost_micro_usd=0),
    ]
    assert report.total == UsageTotals(
        calls=1, billed_microseconds=55_000_001, billed_seconds=55.000001, cost_micro_usd=60_000
    )


async def test_call_belongs_to_the_day_of_its_start_and_both_days_are_included(database, make_actor):
    edges = (TODAY - 1, TODAY, TODAY + DAY - 1, TODAY + DAY)
    await insert_calls(
        database, *(make_call(place, started_at=at, segments=[("local", 5)]) for place, at in enumerate(edges))
    )
    report = await query_usage(database, make_actor(), UsageQuery("day", TODAYS_DATE, TODAYS_DATE))
    assert [(row.day, row.calls) for row in report.rows] == [(TODAYS_DATE, 2)]


async def test_only_a_platform_key_without_tenant_sees_all_tenants(database, make_actor):
    await insert_calls(database, *(make_call(tenant=name, segments=[("local", 5)]) for name in ("harbour", "depot")))
    days = UsageQuery("tenant", TODAYS_DATE, TODAYS_DATE)

    async def seen(who):
        return [row.tenant for row in (await query_usage(database, who, days)).rows]

    assert await seen(PLATFORM) == ["depot", "harbour"]
    assert await seen(make_actor(role="platform")) == ["harbour"]
    assert await seen(make_actor(role="viewer")) == ["harbour"]
    assert await seen(make_actor(role="admin", tenant="")) == []


async def test_no_usage_has_no_rows_and_a_zero_total(database, make_actor):
    report = await query_usage(database, make_actor(), UsageQuery())
    nothing = UsageTotals(calls=0, billed_microseconds=0, billed_seconds=0.0, cost_micro_usd=0)
    assert report == UsageReport(TODAYS_DATE.replace(day=1), TODAYS_DATE, ["day"], [], nothing)


@pytest.mark.parametrize(
    ("since", "until"),
    [(date(2026, 11, 2), date(2026, 11, 1)), (date(2025, 1, 1), date(2026, 1, 2)), (date(1, 1, 1), date(9999, 12, 31))],
)
async def test_invalid_period_is_rejected(database, make_actor, since, until):
    with pytest.raises(InvalidInput) as refused:
        await query_usage(database, make_actor(), UsageQuery("day", since, until))
    assert [problem.path for problem in refused.value.errors] == ["since"]


async def test_last_representable_day_is_accepted(database, make_actor):
    assert (
        await query_usage(database, make_actor(), UsageQuery("day", date(9999, 12, 31), date(9999, 12, 31)))
    ).rows == []


@pytest.mark.parametrize("by", ["", "caller", "day,", "day tier", "day,tier,day,tier,day,tier", "day\n"])
def test_invalid_group_keys_are_rejected(by):
    with pytest.raises(ValidationError):
        convert({"by": by}, UsageQuery)


def usage_row(**keys):
    return UsageRow(calls=1, billed_microseconds=60_000_001, billed_seconds=60.000001, cost_micro_usd=80_000, **keys)


def csv_sheet(*rows, by):
    total = UsageTotals(calls=1, billed_microseconds=1, billed_seconds=1e-6, cost_micro_usd=1)
    return to_csv(UsageReport(TODAYS_DATE, TODAYS_DATE, list(by), list(rows), total)).decode()


def test_csv_has_columns_in_order_and_no_total():
    text = csv_sheet(usage_row(number="+13072249663", day=date(2026, 11, 1)), by=("number", "day"))
    assert text == (
        "number,day,calls,billed_microseconds,billed_seconds,cost_micro_usd\r\n+13072249663,2026-11-01,1,60000001,60.000001,80000\r\n"
    )


@pytest.mark.parametrize("name", ["=1+1", "+cmd|' /C calc'!A0", "-depot", "@sum", "\tx", "+1307x", "+13072249663\n"])
def test_csv_escapes_formulas(name):
    ((cell, *_),) = list(csv.reader(io.StringIO(csv_sheet(usage_row(tenant=name), by=("tenant",)), newline="")))[1:]
    assert cell == "'" + name


def test_keys_that_are_not_grouped_by_are_unset():
    assert usage_row(tier="azure").day is UNSET
