"""What analytics count, in SQL that SQLite and PostgreSQL understand alike, in whole numbers.

Every query has the tenant in its WHERE, and its answer grows with flows, nodes, hours and kinds of outcomes only, never
with calls.
"""

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import BigInteger, ColumnElement, FromClause, Select, and_, case, cast, func, literal_column, select
from sqlalchemy.ext.asyncio import AsyncConnection

from vocelio.gateway.store.db.schema import call_events, calls

HOUR_MICROSECONDS, DAY_MICROSECONDS = 3_600_000_000, 86_400_000_000  # microseconds
MAX_EXITS = 5_000  # the most taken: a flow of a hundred nodes has some three hundred

Query = Select[*tuple[Any, ...]]


class Period(msgspec.Struct, frozen=True):
    """From when on and before when; of one flow, or of all."""

    tenant: str
    since: int
    until: int
    flow: str | None

    def conditions(self, table: FromClause, at: ColumnElement[int]) -> list[ColumnElement[bool]]:
        """What the rows have in common."""
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
    """For each combination of ``keys``: the fields of analytics.Counts, ``spent`` microseconds, and ``closed`` calls.

    Transfers to plain numbers are found in a query of their own, from the transfer to its call. Joined to the calls
    they took SQLite 200 s for 50,000; in a NOT IN they are fast until PostgreSQL's hash of them has no room any more.
    """
    rung = {tuple(key): number for *key, number in await connection.execute(_transferred_query(period, group_by))}
    query, names = _counts_query(period, group_by)  # later, so that whatever ends meanwhile is not subtracted only
    found = {}
    for row in await connection.execute(query):
        key, numbers = tuple(row[: len(group_by)]), row[len(group_by) :]
        found[key] = dict(zip(names, numbers, strict=True))
        found[key]["contained"] -= rung.get(key, 0)
    return found


def _counts_query(period: Period, group_by: Sequence[ColumnElement[Any]]) -> tuple[Query, list[str]]:
    counted = {
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
        select(*group_by, *counted.values()).where(*period.conditions(calls, calls.c.started_at)).group_by(*group_by)
    )
    return query, list(counted)


def _transferred_query(period: Period, group_by: Sequence[ColumnElement[Any]]) -> Query:
    """How many calls would have been contained, but for a transfer. No call takes a day."""
    where = [call_events.c.tenant_id == period.tenant, call_events.c.type == "transfer.started"]
    when = [call_events.c.occurred_at >= period.since, call_events.c.occurred_at < period.until + DAY_MICROSECONDS]
    begun = select(call_events.c.call_id).where(*where, *when).distinct().subquery()
    joined = begun.join(calls, calls.c.id == begun.c.call_id)
    mine = [*period.conditions(calls, calls.c.started_at), _CONTAINED]
    return select(*group_by, func.count()).select_from(joined).where(*mine).group_by(*group_by)


def bucket(interval_microseconds: int) -> ColumnElement[int]:
    """Which hour or day since 1970. The unit stands in the SQL: PostgreSQL takes two parameters for two things."""
    return calls.c.started_at // literal_column(str(interval_microseconds), BigInteger)


def durations_query(period: Period) -> Query:
    """How often an ended call took how long, by flow, in microseconds."""
    where = [*period.conditions(calls, calls.c.started_at), _ENDED]
    columns = [calls.c.flow_id.label("flow"), _DURATION.label("value"), func.count().label("n")]
    return select(*columns).where(*where).group_by(calls.c.flow_id, _DURATION)


def latencies_query(period: Period) -> Query:
    """How often a caller waited how long for an answer, by flow, in milliseconds."""
    mine = [call_events.c.type == "prompt.started", call_events.c.latency_ms.is_not(None)]
    columns = [call_events.c.flow_id.label("flow"), call_events.c.latency_ms.label("value"), func.count().label("n")]
    query = select(*columns).where(*period.conditions(call_events, call_events.c.occurred_at), *mine)
    return query.group_by(call_events.c.flow_id, call_events.c.latency_ms)


def exits_query(period: Period) -> Query:
    """Flow, node, exit, and how often it was taken; the most taken first."""
    keys = [call_events.c.flow_id, call_events.c.node, call_events.c.exit]
    mine = [call_events.c.type == "node.left", call_events.c.node.is_not(None), call_events.c.exit.is_not(None)]
    query = select(*keys, func.count()).where(*period.conditions(call_events, call_events.c.occurred_at), *mine)
    return query.group_by(*keys).order_by(func.count().desc(), *keys).limit(MAX_EXITS)


def _count_if(condition: ColumnElement[bool]) -> ColumnElement[int]:
    return _integer_sum(case((condition, 1), else_=0))


def _integer_sum(expression: ColumnElement[Any]) -> ColumnElement[int]:
    """PostgreSQL's sum of whole numbers is a decimal."""
    return cast(func.sum(expression), BigInteger)


# Percentiles


async def percentiles(connection: AsyncConnection, values_query: Query, *percents: int) -> dict[str | None, list[int]]:
    """How many values there are, and their percentiles: by flow, and under None of all flows together."""
    by_flow = values_query.subquery()
    overall = select(by_flow.c.value, _integer_sum(by_flow.c.n).label("n")).group_by(by_flow.c.value).subquery()
    found: dict[str | None, list[int]] = {}
    for flow, *spread in await connection.execute(_percentiles_query(by_flow, percents, by_flow.c.flow)):
        found[flow] = spread
    for row in await connection.execute(_percentiles_query(overall, percents)):
        if row[0] is not None:
            found[None] = list(row)
    return found


def _percentiles_query(value_counts: FromClause, percents: Sequence[int], *group_by: ColumnElement[Any]) -> Query:
    """Of a table of values and how often each is there (``n``): how many there are in all, and the percentiles."""
    total = func.sum(value_counts.c.n).over(partition_by=group_by or None)
    upto = func.sum(value_counts.c.n).over(partition_by=group_by or None, order_by=value_counts.c.value)
    columns = [key.label(f"key{place}") for place, key in enumerate(group_by)]
    ranked = select(*columns, value_counts.c.value, total.label("total"), upto.label("upto")).subquery()
    groups = [ranked.c[f"key{place}"] for place in range(len(group_by))]
    chosen = [func.min(case((ranked.c.upto * 100 >= ranked.c.total * percent, ranked.c.value))) for percent in percents]
    return select(*groups, cast(func.max(ranked.c.total), BigInteger), *chosen).group_by(*groups)
