"""Analytics: figures of a tenant's flows over a period, in total, per flow, and per hour or day (UTC).

Calls count in the period in which they started, latencies and exits in the one in which they occurred. The database
does the counting, in integers, so that SQLite and PostgreSQL agree and no list of calls is ever read. Percentiles are
nearest rank: the smallest measured value that at least so many per cent of all values do not exceed.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from vocelio.engine.diagnostics import Diagnostic
from vocelio.gateway.clock import Instant
from vocelio.gateway.errors import InvalidInput
from vocelio.gateway.model.types import ResourceName
from vocelio.gateway.store.calls import analytics_queries
from vocelio.gateway.store.calls.analytics_queries import DAY_MICROSECONDS, HOUR_MICROSECONDS, GroupKey, Period
from vocelio.gateway.store.db.database import Database
from vocelio.gateway.store.db.schema import calls

MAX_PERIOD_MICROSECONDS = 92 * DAY_MICROSECONDS  # a quarter: 2,208 hours in a series
DEFAULT_PERIOD_MICROSECONDS = 7 * DAY_MICROSECONDS


class AnalyticsQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A period of at most 92 days (default: the last seven), of one flow or of all."""

    since: Instant | None = None
    until: Instant | None = None
    interval: Literal["hour", "day"] = "day"
    flow: ResourceName | None = None


class HandlingTime(msgspec.Struct, frozen=True):
    """Duration of calls, from start to end."""

    mean_seconds: float
    p50_seconds: float
    p95_seconds: float


class LatencyPercentiles(msgspec.Struct, frozen=True):
    """Milliseconds from the end of the caller's speech to the first audio of the reply, over ``count`` turns."""

    count: int
    p50_ms: int
    p95_ms: int
    p99_ms: int


class CallCounts(msgspec.Struct, frozen=True, kw_only=True):
    """``calls`` are ``rejected`` (before a flow started), ``live`` or ``ended``.

    ``completed`` are the ended calls with the outcome `completed` or `transferred`.

    ``contained`` are the ended calls that needed nobody's help: the outcome is `completed` or `abandoned`, and no
    transfer was started, answered or not. A failed or lost call is not contained, since the caller was not served.
    """

    calls: int = 0
    rejected: int = 0
    live: int = 0
    ended: int = 0
    completed: int = 0
    contained: int = 0
    billed_microseconds: int = 0
    cost_micro_usd: int = 0


class CallStats(CallCounts, frozen=True, kw_only=True):
    """The rates are shares of the ended calls, from 0 to 1; null if there are none."""

    outcomes: dict[str, int]
    completion_rate: float | None
    containment_rate: float | None
    handling_time: HandlingTime | None
    turn_latency: LatencyPercentiles | None


class FlowStats(CallStats, frozen=True, kw_only=True):
    """Figures of one flow; the name is empty for calls to numbers without a flow."""

    flow: str


class SeriesPoint(CallCounts, frozen=True, kw_only=True):
    """Counts of an hour or a day. The first and the last one may be cut off by the period."""

    starts_at: Instant


class ExitCount(msgspec.Struct, frozen=True):
    """How often calls of a flow left a node by an exit."""

    flow: str
    node: str
    exit: str
    count: int


class Analytics(msgspec.Struct, frozen=True, kw_only=True):
    """Figures of the calls that started from ``since`` on and before ``until``, with the 5,000 most frequent exits."""

    since: Instant
    until: Instant
    interval: Literal["hour", "day"]
    overall: CallStats
    flows: list[FlowStats]
    series: list[SeriesPoint]
    exits: list[ExitCount]


async def get_analytics(database: Database, tenant: str, query: AnalyticsQuery, now: int) -> Analytics:
    """Return the figures of a period. Raises InvalidInput."""
    period = _resolve_period(tenant, query, now)
    interval_microseconds = HOUR_MICROSECONDS if query.interval == "hour" else DAY_MICROSECONDS
    async with database.read() as connection:
        counts = await analytics_queries.count_calls(connection, period, calls.c.flow_id, calls.c.outcome)
        series = await analytics_queries.count_calls(
            connection, period, analytics_queries.bucket(interval_microseconds)
        )
        handling_times = await analytics_queries.percentiles(
            connection, analytics_queries.durations_query(period), 50, 95
        )
        latencies = await analytics_queries.percentiles(
            connection, analytics_queries.latencies_query(period), 50, 95, 99
        )
        exits = await connection.execute(analytics_queries.exits_query(period))
        exit_counts = sorted(
            (ExitCount(*row) for row in exits), key=lambda taken: (-taken.count, taken.flow, taken.node, taken.exit)
        )
    return Analytics(
        since=Instant(period.since),
        until=Instant(period.until),
        interval=query.interval,
        overall=CallStats(**_call_stats(counts, handling_times.get(None), latencies.get(None))),
        flows=_flow_stats(counts, handling_times, latencies),
        series=_build_series(series, period, interval_microseconds),
        exits=exit_counts,
    )


def _resolve_period(tenant: str, query: AnalyticsQuery, now: int) -> Period:
    until = now if query.until is None else query.until
    since = max(0, until - DEFAULT_PERIOD_MICROSECONDS) if query.since is None else query.since
    if since >= until:
        raise InvalidInput(
            "Invalid period.", [Diagnostic("since", "invalid-value", "the period must start before it ends")]
        )
    if until - since > MAX_PERIOD_MICROSECONDS:
        problem = Diagnostic("since", "too-many", "at most 92 days can be queried at once")
        raise InvalidInput("Too much at once.", [problem])
    return Period(tenant, since, until, query.flow)


# Results

_COUNT_FIELDS = CallCounts.__struct_fields__
_CountsByKey = Mapping[GroupKey, Mapping[str, int]]  # by flow and outcome
_PercentilesByFlow = Mapping[str | None, list[int]]


def _call_stats(
    counts_by_key: _CountsByKey, handling_time: list[int] | None, latency: list[int] | None
) -> dict[str, Any]:
    totals = {
        name: sum(counts[name] for counts in counts_by_key.values())
        for name in (*_COUNT_FIELDS, "handling_microseconds")
    }
    ended, handling_microseconds = totals["ended"], totals.pop("handling_microseconds")
    outcomes = Counter[str]()
    for (_, outcome), counts in counts_by_key.items():
        outcomes[outcome] += counts["ended_or_rejected"]
    return {
        **totals,
        "outcomes": {outcome: number for outcome, number in sorted(outcomes.items()) if number},
        "completion_rate": totals["completed"] / ended if ended else None,
        "containment_rate": totals["contained"] / ended if ended else None,
        "handling_time": HandlingTime(
            *(part / 1e6 for part in ((2 * handling_microseconds + ended) // (2 * ended), *handling_time[1:]))
        )
        if handling_time and ended
        else None,
        "turn_latency": LatencyPercentiles(*latency) if latency else None,
    }


def _flow_stats(
    counts_by_key: _CountsByKey, handling_times: _PercentilesByFlow, latencies: _PercentilesByFlow
) -> list[FlowStats]:
    """Include flows in which no call started but one was live."""
    by_flow: dict[str, dict[GroupKey, Mapping[str, int]]] = {flow: {} for flow in latencies if flow is not None}
    for key, counts in counts_by_key.items():
        by_flow.setdefault(key[0], {})[key] = counts
    return [
        FlowStats(flow=flow, **_call_stats(flow_counts, handling_times.get(flow), latencies.get(flow)))
        for flow, flow_counts in sorted(by_flow.items())
    ]


def _build_series(counts_by_key: _CountsByKey, period: Period, interval_microseconds: int) -> list[SeriesPoint]:
    """Include hours and days without calls."""
    buckets = range(period.since // interval_microseconds, (period.until - 1) // interval_microseconds + 1)
    return [
        SeriesPoint(
            starts_at=Instant(bucket * interval_microseconds),
            **{name: counts_by_key.get((bucket,), {}).get(name, 0) for name in _COUNT_FIELDS},
        )
        for bucket in buckets
    ]
