"""How a tenant's flows do: numbers of a period, overall, flow by flow, and hour by hour or day by day (UTC).

Calls count in the period in which they began; latencies and exits in that in which they happened. The database does the
counting, in whole numbers, so that SQLite and PostgreSQL say the same and no list of calls is ever read. A percentile
is the smallest value that so many per cent of all values do not exceed ("nearest rank"): one that was measured.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from vocelio.engine.diagnostics import Problem
from vocelio.gateway.errors import Invalid
from vocelio.gateway.model.types import Name
from vocelio.gateway.store.calls import analytics_queries
from vocelio.gateway.store.calls.analytics_queries import DAY, HOUR, Key, Period
from vocelio.gateway.store.calls.history import Instant
from vocelio.gateway.store.db.database import Database
from vocelio.gateway.store.db.schema import calls

MAX_PERIOD = 92 * DAY  # a quarter: 2,208 hours in a series
USUAL_PERIOD = 7 * DAY


class Asked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """From when on and before when, at most 92 days (without: the last seven); of one flow, or of all."""

    since: Instant | None = None
    until: Instant | None = None
    by: Literal["hour", "day"] = "day"
    flow: Name | None = None


class Handling(msgspec.Struct, frozen=True):
    """How long calls took, from their beginning to their end, in microseconds."""

    mean: int
    p50: int
    p95: int


class Latency(msgspec.Struct, frozen=True):
    """Milliseconds from the caller's falling silent to the first sound of the answer; ``count`` of them."""

    count: int
    p50: int
    p95: int
    p99: int


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """``calls`` are ``refused`` (turned away before a flow began), ``live``, or ``ended``.

    ``completed`` are those of the ended that came to the end of their flow, by its own words or by a transfer that
    was answered: outcome `completed` or `transferred`.

    ``contained`` are those of the ended that nobody had to be rung for: they were completed by the flow, or the caller
    hung up (outcome `completed` or `abandoned`), and no transfer was ever begun in them, whether it was answered or
    not. A call that failed or was lost is not contained: nobody was served.

    ``billed`` is in microseconds.
    """

    calls: int = 0
    refused: int = 0
    live: int = 0
    ended: int = 0
    completed: int = 0
    contained: int = 0
    billed: int = 0
    micro_usd: int = 0


class Figures(Counts, frozen=True, kw_only=True):
    """``completion`` and ``containment`` are shares of the ended calls, from 0 to 1; none when there are none."""

    outcomes: dict[str, int]
    completion: float | None
    containment: float | None
    handling: Handling | None
    latency: Latency | None


class FlowFigures(Figures, frozen=True, kw_only=True):
    """Those of one flow; its name is empty for calls to numbers that led to none."""

    flow: str


class Point(Counts, frozen=True, kw_only=True):
    """An hour or a day, which begins ``at``. The first and the last of a period may be cut off by it."""

    at: int


class ExitTaken(msgspec.Struct, frozen=True):
    """How often calls of a flow left a node by an exit."""

    flow: str
    node: str
    exit: str
    count: int


class Analytics(msgspec.Struct, frozen=True, kw_only=True):
    """Of calls that began from ``since`` on and before ``until``. ``exits`` are the most taken, at most 5,000."""

    since: int
    until: int
    by: Literal["hour", "day"]
    overall: Figures
    flows: list[FlowFigures]
    series: list[Point]
    exits: list[ExitTaken]


async def analysed(database: Database, tenant: str, asked: Asked, now: int) -> Analytics:
    """See the module. Raises Invalid."""
    period = _period(tenant, asked, now)
    unit = HOUR if asked.by == "hour" else DAY
    async with database.reading() as connection:
        counts = await analytics_queries.counts(connection, period, calls.c.flow_id, calls.c.outcome)
        series = await analytics_queries.counts(connection, period, analytics_queries.bucket(unit))
        handling = await analytics_queries.spreads(connection, analytics_queries.durations(period), 50, 95)
        latency = await analytics_queries.spreads(connection, analytics_queries.latencies(period), 50, 95, 99)
        exits = await connection.execute(analytics_queries.exits(period))
        taken = sorted((ExitTaken(*row) for row in exits), key=lambda one: (-one.count, one.flow, one.node, one.exit))
    return Analytics(
        since=period.since,
        until=period.until,
        by=asked.by,
        overall=Figures(**_figures(counts, handling.get(None), latency.get(None))),
        flows=_flows(counts, handling, latency),
        series=_series(series, period, unit),
        exits=taken,
    )


def _period(tenant: str, asked: Asked, now: int) -> Period:
    until = now if asked.until is None else asked.until
    since = max(0, until - USUAL_PERIOD) if asked.since is None else asked.since
    if since >= until:
        raise Invalid("There is no such period.", [Problem("since", "value", "a period begins before it ends")])
    if until - since > MAX_PERIOD:
        problem = Problem("since", "too-many", "at most 92 days can be asked for at once")
        raise Invalid("That is too much at once.", [problem])
    return Period(tenant, since, until, asked.flow)


# What is told

_COUNTED = Counts.__struct_fields__
_Counted = Mapping[Key, Mapping[str, int]]  # by flow and outcome
_Spreads = Mapping[str | None, list[int]]


def _figures(counted: _Counted, handling: list[int] | None, latency: list[int] | None) -> dict[str, Any]:
    added = {name: sum(counts[name] for counts in counted.values()) for name in (*_COUNTED, "spent")}
    ended, spent = added["ended"], added.pop("spent")
    outcomes = Counter[str]()
    for (_, outcome), counts in counted.items():
        outcomes[outcome] += counts["closed"]
    return {
        **added,
        "outcomes": {outcome: number for outcome, number in sorted(outcomes.items()) if number},
        "completion": added["completed"] / ended if ended else None,
        "containment": added["contained"] / ended if ended else None,
        "handling": Handling((2 * spent + ended) // (2 * ended), *handling[1:]) if handling and ended else None,
        "latency": Latency(*latency) if latency else None,
    }


def _flows(counted: _Counted, handling: _Spreads, latency: _Spreads) -> list[FlowFigures]:
    """Also those in which no call began, but one went on."""
    mine: dict[str, dict[Key, Mapping[str, int]]] = {flow: {} for flow in latency if flow is not None}
    for key, counts in counted.items():
        mine.setdefault(key[0], {})[key] = counts
    return [
        FlowFigures(flow=flow, **_figures(theirs, handling.get(flow), latency.get(flow)))
        for flow, theirs in sorted(mine.items())
    ]


def _series(counted: _Counted, period: Period, unit: int) -> list[Point]:
    """Every hour or day, also those without a call."""
    buckets = range(period.since // unit, (period.until - 1) // unit + 1)
    return [
        Point(at=bucket * unit, **{name: counted.get((bucket,), {}).get(name, 0) for name in _COUNTED})
        for bucket in buckets
    ]
