"""SQL of the analytics: integer arithmetic that SQLite and PostgreSQL evaluate alike.

Every query filters by tenant, and its result grows with flows, nodes, hours and outcomes only, never with calls.
"""

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import BigInteger, ColumnElement, FromClause, Select, and_, case, cast, func, literal_column, select
from sqlalchemy.ext.asyncio import AsyncConnection

from vocelio.gateway.store.db.schema import call_events, calls

HOUR_MICROSECONDS, DAY_MICROSECONDS = 3_600_000_000, 86_400_000_000
MAX_EXITS = 5_000  # those taken most often: a flow of a hundred nodes has some three hundred

Query = Select[*tuple[Any, ...]]


class Period(msgspec.Struct, frozen=True):
    """A half-open period, of one flow or of all."""

    tenant: str
    since: int
    until: int
    flow: str | None

    def conditions(self, table: FromClause, at: ColumnElement[int]) -> list[ColumnElement[bool]]:
        """Return the conditions that every query has in common."""
        where = [table.c.tenant_id == self.tenant, at >= self.since, at < self.until]
        return [*where, table.c.flow_id == self.flow] if self.flow is not None else where


GroupKey = tuple[Any, ...]

_ACCEPTED = calls.c.version.is_not(None)
_ENDED = and_(_ACCEPTED, calls.c.ended_at.is_not(None))
_COMPLETED = and_(_ENDED, calls.c.outcome.in_(("completed", "transferred")))
_CONTAINED = and_(_ENDED, calls.c.outcome.in_(("completed", "abandoned")), calls.c.department == "")
_DURATION = calls.c.ended_at - calls.c.started_at


async def count_calls(
    connection: AsyncConnection, period: Period, *group_by: ColumnElement[Any]
) -> dict[GroupKey, dict[str, int]]:
    """Return the fields of analytics.CallCounts, ``handling_microseconds`` and ``ended_or_rejected`` for each group.

    Transfers to plain numbers are found by a query of their own, from the transfer to its call. Joined to the calls
    they took SQLite 200 s for 50,000 calls; a NOT IN is fast only until PostgreSQL's hash table no longer fits into
    memory.
    """
    transferred = {
        tuple(key): number for *key, number in await connection.execute(_transferred_query(period, group_by))
    }
    query, names = _counts_query(
        period, group_by
    )  # last: calls that end between the queries must not only be subtracted
    counts = {}
    for row in await connection.execute(query):
        key, numbers = tuple(row[: len(group_by)]), row[len(group_by) :]
        counts[key] = dict(zip(names, numbers, strict=True))
        counts[key]["contained"] -= transferred.get(key, 0)
    return counts


def _counts_query(period: Period, group_by: Sequence[ColumnElement[Any]]) -> tuple[Query, list[str]]:
    columns = {
        "calls": func.count(),
        "rejected": _count_if(calls.c.version.is_(None)),
        "live": _count_if(and_(_ACCEPTED, calls.c.ended_at.is_(None))),
        "ended": _count_if(_ENDED),
        "completed": _count_if(_COMPLETED),
        "contained": _count_if(_CONTAINED),
        "billed_microseconds": _integer_sum(calls.c.billed_microseconds),
        "cost_micro_usd": _integer_sum(calls.c.cost_micro_usd),
        "handling_microseconds": _integer_sum(case((_ENDED, _DURATION), else_=0)),
        "ended_or_rejected": _count_if(calls.c.ended_at.is_not(None)),
    }
    query = (
        select(*group_by, *columns.values()).where(*period.conditions(calls, calls.c.started_at)).group_by(*group_by)
    )
    return query, list(columns)


def _transferred_query(period: Period, group_by: Sequence[ColumnElement[Any]]) -> Query:
    """Count the calls that would be contained but for a transfer. No call lasts a day."""
    where = [call_events.c.tenant_id == period.tenant, call_events.c.type == "transfer.started"]
    when = [call_events.c.occurred_at >= period.since, call_events.c.occurred_at < period.until + DAY_MICROSECONDS]
    started = select(call_events.c.call_id).where(*where, *when).distinct().subquery()
    joined = started.join(calls, calls.c.id == started.c.call_id)
    contained = [*period.conditions(calls, calls.c.started_at), _CONTAINED]
    return select(*group_by, func.count()).select_from(joined).where(*contained).group_by(*group_by)


def bucket(interval_microseconds: int) -> ColumnElement[int]:
    """Return the number of the hour or day since 1970.

    The interval is a literal, because PostgreSQL would take two parameters for two different expressions.
    """
    return calls.c.started_at // literal_column(str(interval_microseconds), BigInteger)


def durations_query(period: Period) -> Query:
    """Count the ended calls by flow and duration, in microseconds."""
    where = [*period.conditions(calls, calls.c.started_at), _ENDED]
    columns = [calls.c.flow_id.label("flow"), _DURATION.label("value"), func.count().label("n")]
    return select(*columns).where(*where).group_by(calls.c.flow_id, _DURATION)


def latencies_query(period: Period) -> Query:
    """Count the turns by flow and latency, in milliseconds."""
    conditions = [call_events.c.type == "prompt.started", call_events.c.latency_ms.is_not(None)]
    columns = [call_events.c.flow_id.label("flow"), call_events.c.latency_ms.label("value"), func.count().label("n")]
    query = select(*columns).where(*period.conditions(call_events, call_events.c.occurred_at), *conditions)
    return query.group_by(call_events.c.flow_id, call_events.c.latency_ms)


def exits_query(period: Period) -> Query:
    """Count how often each exit was taken, most frequent first: flow, node, exit, count."""
    keys = [call_events.c.flow_id, call_events.c.node, call_events.c.exit]
    conditions = [call_events.c.type == "node.left", call_events.c.node.is_not(None), call_events.c.exit.is_not(None)]
    query = select(*keys, func.count()).where(*period.conditions(call_events, call_events.c.occurred_at), *conditions)
    return query.group_by(*keys).order_by(func.count().desc(), *keys).limit(MAX_EXITS)


def _count_if(condition: ColumnElement[bool]) -> ColumnElement[int]:
    return _integer_sum(case((condition, 1), else_=0))


def _integer_sum(expression: ColumnElement[Any]) -> ColumnElement[int]:
    """Sum as an integer: PostgreSQL's sum of integers is a decimal."""
    return cast(func.sum(expression), BigInteger)


# Percentiles


async def percentiles(connection: AsyncConnection, values_query: Query, *percents: int) -> dict[str | None, list[int]]:
    """Return the number of values and their percentiles by flow, and under None those of all flows."""
    by_flow = values_query.subquery()
    overall = select(by_flow.c.value, _integer_sum(by_flow.c.n).label("n")).group_by(by_flow.c.value).subquery()
    result: dict[str | None, list[int]] = {}
    for flow, *figures in await connection.execute(_percentiles_query(by_flow, percents, by_flow.c.flow)):
        result[flow] = figures
    for row in await connection.execute(_percentiles_query(overall, percents)):
        if row[0] is not None:
            result[None] = list(row)
    return result


def _percentiles_query(value_counts: FromClause, percents: Sequence[int], *group_by: ColumnElement[Any]) -> Query:
    """Select the total and the percentiles of a table of values and their counts (``n``)."""
    total = func.sum(value_counts.c.n).over(partition_by=group_by or None)
    running_total = func.sum(value_counts.c.n).over(partition_by=group_by or None, order_by=value_counts.c.value)
    columns = [key.label(f"key{place}") for place, key in enumerate(group_by)]
    ranked = select(
        *columns, value_counts.c.value, total.label("total"), running_total.label("running_total")
    ).subquery()
    groups = [ranked.c[f"key{place}"] for place in range(len(group_by))]
    percentile_columns = [
        func.min(case((ranked.c.running_total * 100 >= ranked.c.total * percent, ranked.c.value)))
        for percent in percents
    ]
    return select(*groups, cast(func.max(ranked.c.total), BigInteger), *percentile_columns).group_by(*groups)
