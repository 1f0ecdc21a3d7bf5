"""Analytics: the database counts as a plain loop over all calls does, whichever database it is."""

from collections import Counter
from math import ceil

import pytest

from tests.integration.conftest import NOW
from tests.support.generated_calls import DAY, HOUR, TODAY, insert_calls, make_call, make_random_call, new_rng
from vocelio.gateway.errors import InvalidInput
from vocelio.gateway.store.calls.analytics import (
    AnalyticsQuery,
    ExitCount,
    HandlingTime,
    LatencyPercentiles,
    get_analytics,
)

CONTAINED = ("completed", "abandoned")


def percentile(values, percent):
    return sorted(values)[ceil(len(values) * percent / 100) - 1]


def flatten_figures(told):
    """Every number of a Figures, FlowFigures or Point."""
    return {name: getattr(told, name) for name in told.__struct_fields__ if name not in ("flow", "starts_at")}


def expected_counts(kept):
    """What the counts must be, by a loop."""
    taken = [one for one in kept if one.row["version"] is not None]
    ended = [one for one in taken if one.row["ended_at"] is not None]
    quiet = [one for one in ended if not any(kind == "transfer.started" for kind, _, _ in one.events)]
    return {
        "calls": len(kept),
        "rejected": len(kept) - len(taken),
        "live": len(taken) - len(ended),
        "ended": len(ended),
        "completed": sum(one.row["outcome"] in ("completed", "transferred") for one in ended),
        "contained": sum(one.row["outcome"] in CONTAINED and not one.row["department"] for one in quiet),
        "billed_microseconds": sum(one.row["billed_microseconds"] for one in kept),
        "cost_micro_usd": sum(one.row["cost_micro_usd"] for one in kept),
    }


def expected_analytics(kept, events):
    counts = expected_counts(kept)
    over = [one for one in kept if one.row["ended_at"] is not None]
    spent = [one.row["ended_at"] - one.row["started_at"] for one in over if one.row["version"] is not None]
    waits = [data["latency_ms"] for kind, _, data in events if "latency_ms" in data]
    ended = counts["ended"]
    return counts | {
        "outcomes": dict(sorted(Counter(one.row["outcome"] for one in over).items())),
        "completion_rate": counts["completed"] / ended if ended else None,
        "containment_rate": counts["contained"] / ended if ended else None,
        "handling_time": HandlingTime(
            int(sum(spent) / ended + 0.5) / 1e6, percentile(spent, 50) / 1e6, percentile(spent, 95) / 1e6
        )
        if spent
        else None,
        "turn_latency": LatencyPercentiles(len(waits), *(percentile(waits, percent) for percent in (50, 95, 99)))
        if waits
        else None,
    }


@pytest.mark.parametrize(("seed", "number"), [(1, 0), (2, 1), (3, 9), (4, 400)])
async def test_the_database_counts_as_a_loop_does(database, seed, number):
    rng = new_rng(seed)
    everybody = [make_random_call(place, rng, "harbour" if place % 4 else "depot") for place in range(number)]
    await insert_calls(database, *everybody)
    since, until = TODAY - 7 * DAY + 5 * HOUR, TODAY + 3 * HOUR
    mine = [one for one in everybody if one.tenant == "harbour"]
    for flow in (None, "night", "nothing"):
        theirs = [one for one in mine if flow in (None, one.row["flow_id"])]
        kept = [one for one in theirs if since <= one.row["started_at"] < until]
        events = [(one.row["flow_id"], told) for one in theirs for told in one.events if since <= told[1] < until]
        told = await get_analytics(database, "harbour", AnalyticsQuery(since, until, "hour", flow), NOW)
        assert flatten_figures(told.overall) == expected_analytics(kept, [event for _, event in events])
        for one in told.flows:
            named = [call for call in kept if call.row["flow_id"] == one.flow]
            assert flatten_figures(one) == expected_analytics(
                named, [event for name, event in events if name == one.flow]
            )
        assert {one.row["flow_id"] for one in kept} <= {one.flow for one in told.flows}
        left = Counter((name, data["node"], data["exit"]) for name, (_, _, data) in events if "exit" in data)
        assert Counter({(one.flow, one.node, one.exit): one.count for one in told.exits}) == left
        for point in told.series:
            begun = [one for one in kept if point.starts_at <= one.row["started_at"] < point.starts_at + HOUR]
            assert flatten_figures(point) == expected_counts(begun)
        assert [point.starts_at for point in told.series] == list(range(since, until, HOUR))


async def test_days_and_hours_are_those_of_utc_and_have_no_gaps(database):
    edges = [TODAY - 1, TODAY, TODAY + HOUR - 1, TODAY + HOUR, TODAY + DAY - 1, TODAY + DAY]
    await insert_calls(database, *(make_call(place, started_at=at) for place, at in enumerate(edges)))
    days = await get_analytics(database, "harbour", AnalyticsQuery(TODAY - DAY, TODAY + DAY + 1, "day"), NOW)
    assert [(point.starts_at, point.calls) for point in days.series] == [(TODAY - DAY, 1), (TODAY, 4), (TODAY + DAY, 1)]
    hours = await get_analytics(database, "harbour", AnalyticsQuery(TODAY, TODAY + DAY, "hour"), NOW)
    assert [point.calls for point in hours.series] == [2, 1, *[0] * 21, 1]
    assert hours.overall.calls == 4


async def test_a_percentile_is_the_smallest_value_that_so_many_do_not_exceed(database):
    await insert_calls(database, *(make_call(place, ended_at=NOW + place) for place in range(1, 21)))
    told = await get_analytics(database, "harbour", AnalyticsQuery(TODAY, TODAY + DAY), NOW)
    assert told.overall.handling_time == HandlingTime(mean_seconds=11e-6, p50_seconds=10e-6, p95_seconds=19e-6)


async def test_a_transfer_that_nobody_answered_is_not_contained_and_one_to_a_plain_number_neither(database):
    rung = ("transfer.started", NOW, {"department": "", "number": "+13105550110"})
    await insert_calls(
        database,
        make_call(1),
        make_call(2, outcome="abandoned"),
        make_call(3, department="sales"),
        make_call(4, events=[rung]),
        make_call(5, outcome="failed"),
        make_call(6, outcome="lost"),
        make_call(1, tenant="depot", events=[rung]),
    )
    told = await get_analytics(database, "harbour", AnalyticsQuery(TODAY, TODAY + DAY), NOW)
    assert (told.overall.ended, told.overall.contained, told.overall.containment_rate) == (6, 2, 2 / 6)


async def test_another_tenants_call_of_the_same_name_and_its_events_do_not_count(database):
    await insert_calls(
        database,
        make_call(1),
        make_call(1, tenant="depot", events=[("node.left", NOW, {"node": "ask", "exit": "next"})], outcome="lost"),
    )
    told = await get_analytics(database, "harbour", AnalyticsQuery(TODAY, TODAY + DAY), NOW)
    assert (told.overall.calls, told.overall.outcomes, told.exits) == (1, {"completed": 1}, [])
    theirs = await get_analytics(database, "depot", AnalyticsQuery(TODAY, TODAY + DAY), NOW)
    assert theirs.exits == [ExitCount("front-desk", "ask", "next", 1)]


async def test_without_a_period_it_is_the_last_seven_days(database):
    told = await get_analytics(database, "harbour", AnalyticsQuery(), NOW)
    assert (told.since, told.until, len(told.series)) == (NOW - 7 * DAY, NOW, 8)


@pytest.mark.parametrize(("since", "until"), [(NOW, NOW), (NOW + 1, NOW), (0, 92 * DAY + 1), (0, 0)])
async def test_a_period_ends_after_it_begins_and_has_at_most_92_days(database, since, until):
    with pytest.raises(InvalidInput) as refused:
        await get_analytics(database, "harbour", AnalyticsQuery(since, until), NOW)
    assert [problem.path for problem in refused.value.errors] == ["since"]
