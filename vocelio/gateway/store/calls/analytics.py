"""How a tenant's flows do: numbers of a period, overall, flow by flow, and hour by hour or day by day (UTC).

Calls count in the period in which they began; latencies and exits in that in which they happened. The database does the
counting, in whole numbers, so that SQLite and PostgreSQL say the same and no list of calls is ever read. A percentile
is the smallest value that so many per cent of all values do not exceed ("nearest rank"): one that was measured.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from vocelio.engine.diagnostics import Diagnostic
from vocelio.gateway.errors import UnprocessableContent
from vocelio.gateway.model.types import ResourceName
from vocelio.gateway.store.calls import analytics_queries
from vocelio.gateway.store.calls.analytics_queries import DAY_MICROSECONDS, HOUR_MICROSECONDS, GroupKey, Period
from vocelio.gateway.store.calls.history import Instant
from vocelio.gateway.store.db.database import Database
from vocelio.gateway.store.db.schema import calls

MAX_PERIOD_MICROSECONDS = 92 * DAY_MICROSECONDS  # a quarter: 2,208 hours in a series
DEFAULT_PERIOD_MICROSECONDS = 7 * DAY_MICROSECONDS


class AnalyticsQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """From when on and before when, at most 92 days (without: the last seven); of one flow, or of all."""

    since: Instant | None = None
    until: Instant | None = None
    interval: Literal["hour", "day"] = "day"
    flow: ResourceName | None = None


class HandlingTime(msgspec.Struct, frozen=True):
    """How long calls took, from their beginning to their end."""

    mean_seconds: float
    p50_seconds: float
    p95_seconds: float


class LatencyPercentiles(msgspec.Struct, frozen=True):
    """Milliseconds from the caller's falling silent to the first sound of the answer; ``count`` of them."""

    count: int
    p50_ms: int
    p95_ms: int
    p99_ms: int


class CallCounts(msgspec.Struct, frozen=True, kw_only=True):
    """``calls`` are ``refused`` (turned away before a flow began), ``live``, or ``ended``.

    ``completed`` are those of the ended that came to the end of their flow, by its own words or by a transfer that
    was answered: outcome `completed` or `transferred`.

    ``contained`` are those of the ended that nobody had to be rung for: they were completed by the flow, or the caller
    hung up (outcome `completed` or `abandoned`), and no transfer was ever begun in them, whether it was answered or
    not. A call that failed or was lost is not contained: nobody was served.

    ``billed`` is in microseconds.
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
    """``completion`` and ``containment`` are shares of the ended calls, from 0 to 1; none when there are none."""

    outcomes: dict[str, int]
    completion_rate: float | None
    containment_rate: float | None
    handling_time: HandlingTime | None
    turn_latency: LatencyPercentiles | None


class FlowStats(CallStats, frozen=True, kw_only=True):
    """Those of one flow; its name is empty for calls to numbers that led to none."""

    flow: str


class SeriesPoint(CallCounts, frozen=True, kw_only=True):
    """An hour or a day, which begins ``at``. The first and the last of a period may be cut off by it."""

    starts_at: int


class ExitCount(msgspec.Struct, frozen=True):
    """How often calls of a flow left a node by an exit."""

    flow: str
    node: str
    exit: str
    count: int


class Analytics(msgspec.Struct, frozen=True, kw_only=True):
    """Of calls that began from ``since`` on and before ``until``. ``exits`` are the most taken, at most 5,000."""

    since: int
    until: int
    interval: Literal["hour", "day"]
    overall: CallStats
    flows: list[FlowStats]
    series: list[SeriesPoint]
    exits: list[ExitCount]


async def get_analytics(database: Database, tenant: str, query: AnalyticsQuery, now: int) -> Analytics:
    """See the module. Raises Invalid."""
    period = _resolve_period(tenant, query, now)
    unit = HOUR_MICROSECONDS if query.interval == "hour" else DAY_MICROSECONDS
    async with database.read() as connection:
        counts = await analytics_queries.count_calls(connection, period, calls.c.flow_id, calls.c.outcome)
        series = await analytics_queries.count_calls(connection, period, analytics_queries.bucket(unit))
        handling = await analytics_queries.percentiles(connection, analytics_queries.durations_query(period), 50, 95)
        latency = await analytics_queries.percentiles(connection, analytics_queries.latencies_query(period), 50, 95, 99)
        exits = await connection.execute(analytics_queries.exits_query(period))
        taken = sorted((ExitCount(*row) for row in exits), key=lambda one: (-one.count, one.flow, one.node, one.exit))
    return Analytics(
        since=period.since,
        until=period.until,
        interval=query.interval,
        overall=CallStats(**_call_stats(counts, handling.get(None), latency.get(None))),
        flows=_flow_stats(counts, handling, latency),
        series=_build_series(series, period, unit),
        exits=taken,
    )


def _resolve_period(tenant: str, query: AnalyticsQuery, now: int) -> Period:
    until = now if query.until is None else query.until
    since = max(0, until - DEFAULT_PERIOD_MICROSECONDS) if query.since is None else query.since
    if since >= until:
        raise UnprocessableContent(
            "There is no such period.", [Diagnostic("since", "invalid-value", "a period begins before it ends")]
        )
    if until - since > MAX_PERIOD_MICROSECONDS:
        problem = Diagnostic("since", "too-many", "at most 92 days can be asked for at once")
        raise UnprocessableContent("That is too much at once.", [problem])
    return Period(tenant, since, until, query.flow)


# What is told

_COUNT_FIELDS = CallCounts.__struct_fields__
_CountsByKey = Mapping[GroupKey, Mapping[str, int]]  # by flow and outcome
_PercentilesByFlow = Mapping[str | None, list[int]]


def _call_stats(
    counts_by_key: _CountsByKey, handling_time: list[int] | None, latency: list[int] | None
) -> dict[str, Any]:
    added = {
        name: sum(counts[name] for counts in counts_by_key.values())
        for name in (*_COUNT_FIELDS, "handling_microseconds")
    }
    ended, spent = added["ended"], added.pop("handling_microseconds")
    outcomes = Counter[str]()
    for (_, outcome), counts in counts_by_key.items():
        outcomes[outcome] += counts["ended_or_rejected"]
    return {
        **added,
        "outcomes": {outcome: number for outcome, number in sorted(outcomes.items()) if number},
        "completion_rate": added["completed"] / ended if ended else None,
        "containment_rate": added["contained"] / ended if ended else None,
        "handling_time": HandlingTime(
            *(part / 1e6 for part in ((2 * spent + ended) // (2 * ended), *handling_time[1:]))
        )
        if handling_time and ended
        else None,
        "turn_latency": LatencyPercentiles(*latency) if latency else None,
    }


def _flow_stats(
    counts_by_key: _CountsByKey, handling_times: _PercentilesByFlow, latencies: _PercentilesByFlow
) -> list[FlowStats]:
    """Also those in which no call began, but one went on."""
    mine: dict[str, dict[GroupKey, Mapping[str, int]]] = {flow: {} for flow in latencies if flow is not None}
    for key, counts in counts_by_key.items():
        mine.setdefault(key[0], {})[key] = counts
    return [
        FlowStats(flow=flow, **_call_stats(theirs, handling_times.get(flow), latencies.get(flow)))
        for flow, theirs in sorted(mine.items())
    ]


def _build_series(counts_by_key: _CountsByKey, period: Period, interval_microseconds: int) -> list[SeriesPoint]:
    """Every hour or day, also those without a call."""
    buckets = range(period.since // interval_microseconds, (period.until - 1) // interval_microseconds + 1)
    return [
        SeriesPoint(
            starts_at=bucket * interval_microseconds,
            **{name: counts_by_key.get((bucket,), {}).get(name, 0) for name in _COUNT_FIELDS},
        )
        for bucket in buckets
    ]
