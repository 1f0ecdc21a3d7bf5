"""Analytics: on both databases, the SQL counts the same as a plain loop over the calls."""

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


def flatten_figures(figures):
    """Every number of a CallStats, FlowStats or SeriesPoint."""
    return {name: getattr(figures, name) for name in figures.__struct_fields__ if name not in ("flow", "starts_at")}


def expected_counts(calls):
    """Count by a loop."""
    accepted = [item for item in calls if item.row["version"] is not None]
    ended = [item for item in accepted if item.row["ended_at"] is not None]
    untransferred = [item for item in ended if not any(kind == "transfer.started" for kind, _, _ in item.events)]
    return {
        "calls": len(calls),
        "rejected": len(calls) - len(accepted),
        "live": len(accepted) - len(ended),
        "ended": len(ended),
        "completed": sum(item.row["outcome"] in ("completed", "transferred") for item in ended),
        "contained": sum(item.row["outcome"] in CONTAINED and not item.row["department"] for item in untransferred),
        "billed_microseconds": sum(item.row["billed_microseconds"] for item in calls),
        "cost_micro_usd": sum(item.row["cost_micro_usd"] for item in calls),
    }


def expected_analytics(calls, events):
    counts = expected_counts(calls)
    finished = [item for item in calls if item.row["ended_at"] is not None]
    durations = [item.row["ended_at"] - item.row["started_at"] for item in finished if item.row["version"] is not None]
    latencies = [data["latency_ms"] for kind, _, data in events if "latency_ms" in data]
    ended = counts["ended"]
    return counts | {
        "outcomes": dict(sorted(Counter(item.row["outcome"] for item in finished).items())),
        "completion_rate": counts["completed"] / ended if ended else None,
        "containment_rate": counts["contained"] / ended if ended else None,
        "handling_time": HandlingTime(
            int(sum(durations) / ended + 0.5) / 1e6, percentile(durations, 50) / 1e6, percentile(durations, 95) / 1e6
        )
        if durations
        else None,
        "turn_latency": LatencyPercentiles(
            len(latencies), *(percentile(latencies, percent) for percent in (50, 95, 99))
        )
        if latencies
        else None,
    }


@pytest.mark.parametrize(("seed", "number"), [(1, 0), (2, 1), (3, 9), (4, 400)])
async def test_figures_equal_those_of_a_loop_over_the_calls(database, seed, number):
    rng = new_rng(seed)
    all_calls = [make_random_call(place, rng, "harbour" if place % 4 else "depot") for place in range(number)]
    await insert_calls(database, *all_calls)
    since, until = TODAY - 7 * DAY + 5 * HOUR, TODAY + 3 * HOUR
    tenant_calls = [item for item in all_calls if item.tenant == "harbour"]
    for flow in (None, "night", "nothing"):
        flow_calls = [item for item in tenant_calls if flow in (None, item.row["flow_id"])]
        in_period = [item for item in flow_calls if since <= item.row["started_at"] < until]
        events = [
            (item.row["flow_id"], reported)
            for item in flow_calls
            for reported in item.events
            if since <= reported[1] < until
        ]
        reported = await get_analytics(database, "harbour", AnalyticsQuery(since, until, "hour", flow), NOW)
        assert flatten_figures(reported.overall) == expected_analytics(in_period, [event for _, event in events])
        for item in reported.flows:
            named = [call for call in in_period if call.row["flow_id"] == item.flow]
            assert flatten_figures(item) == expected_analytics(
                named, [event for name, event in events if name == item.flow]
            )
        assert {item.row["flow_id"] for item in in_period} <= {item.flow for item in reported.flows}
        exits = Counter((name, data["node"], data["exit"]) for name, (_, _, data) in events if "exit" in data)
        assert Counter({(item.flow, item.node, item.exit): item.count for item in reported.exits}) == exits
        for point in reported.series:
            started = [item for item in in_period if point.starts_at <= item.row["started_at"] < point.starts_at + HOUR]
            assert flatten_figures(point) == expected_counts(started)
        assert [point.starts_at for point in reported.series] == list(range(since, until, HOUR))


async def test_series_has_every_utc_day_or_hour_of_the_period(database):
    edges = [TODAY - 1, TODAY, TODAY + HOUR - 1, TODAY + HOUR, TODAY + DAY - 1, TODAY + DAY]
    await insert_calls(database, *(make_call(place, started_at=at) for place, at in enumerate(edges)))
    days = await get_analytics(database, "harbour", AnalyticsQuery(TODAY - DAY, TODAY + DAY + 1, "day"), NOW)
    assert [(point.starts_at, point.calls) for point in days.series] == [(TODAY - DAY, 1), (TODAY, 4), (TODAY + DAY, 1)]
    hours = await get_analytics(database, "harbour", AnalyticsQuery(TODAY, TODAY + DAY, "hour"), NOW)
    assert [point.calls for point in hours.series] == [2, 1, *[0] * 21, 1]
    assert hours.overall.calls == 4


async def test_percentiles_are_nearest_rank(database):
    await insert_calls(database, *(make_call(place, ended_at=NOW + place) for place in range(1, 21)))
    analytics = await get_analytics(database, "harbour", AnalyticsQuery(TODAY, TODAY + DAY), NOW)
    assert analytics.overall.handling_time == HandlingTime(mean_seconds=11e-6, p50_seconds=10e-6, p95_seconds=19e-6)


async def test_calls_with_any_transfer_are_not_contained(database):
    transfer = ("transfer.started", NOW, {"department": "", "number": "+13105550110"})
    await insert_calls(
        database,
        make_call(1),
        make_call(2, outcome="abandoned"),
        make_call(3, department="sales"),
        make_call(4, events=[transfer]),
        make_call(5, outcome="failed"),
        make_call(6, outcome="lost"),
        make_call(1, tenant="depot", events=[transfer]),
    )
    analytics = await get_analytics(database, "harbour", AnalyticsQuery(TODAY, TODAY + DAY), NOW)
    assert (analytics.overall.ended, analytics.overall.contained, analytics.overall.containment_rate) == (6, 2, 2 / 6)


async def test_call_with_the_same_id_at_another_tenant_does_not_count(database):
    await insert_calls(
        database,
        make_call(1),
        make_call(1, tenant="depot", events=[("node.left", NOW, {"node": "ask", "exit": "next"})], outcome="lost"),
    )
    analytics = await get_analytics(database, "harbour", AnalyticsQuery(TODAY, TODAY + DAY), NOW)
    assert (analytics.overall.calls, analytics.overall.outcomes, analytics.exits) == (1, {"completed": 1}, [])
    others = await get_analytics(database, "depot", AnalyticsQuery(TODAY, TODAY + DAY), NOW)
    assert others.exits == [ExitCount("front-desk", "ask", "next", 1)]


async def test_default_period_is_the_last_seven_days(database):
    analytics = await get_analytics(database, "harbour", AnalyticsQuery(), NOW)
    assert (analytics.since, analytics.until, len(analytics.series)) == (NOW - 7 * DAY, NOW, 8)


@pytest.mark.parametrize(("since", "until"), [(NOW, NOW), (NOW + 1, NOW), (0, 92 * DAY + 1), (0, 0)])
async def test_invalid_period_is_rejected(database, since, until):
    with pytest.raises(InvalidInput) as refused:
        await get_analytics(database, "harbour", AnalyticsQuery(since, until), NOW)
    assert [problem.path for problem in refused.value.errors] == ["since"]
