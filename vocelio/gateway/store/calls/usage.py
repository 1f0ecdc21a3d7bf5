"""Usage: what is billed, summed over whole days (UTC).

A call belongs entirely to the day on which it started, and its cost is the sum of its segments, so totals agree with
the calls to the micro-dollar, however they are grouped. A call with segments at two tiers counts once in the row of
each tier, and once in the total. Calls that were rejected before a flow started have no usage.
"""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType
from sqlalchemy import BigInteger, ColumnElement, Row, Select, cast, func, literal_column, select

from vocelio.engine.diagnostics import Diagnostic
from vocelio.gateway.errors import InvalidInput
from vocelio.gateway.model.types import PATTERN_END
from vocelio.gateway.store.audit import Actor
from vocelio.gateway.store.db.database import Database
from vocelio.gateway.store.db.schema import usage

MAX_DAYS = 366
MAX_ROWS = 50_000  # 10 MB of JSON: all tenants of a large installation by tier
DAY_MICROSECONDS = 86_400_000_000
EPOCH_ORDINAL = date(1970, 1, 1).toordinal()

_GROUP_COLUMNS: dict[str, ColumnElement[Any]] = {
    "tenant": usage.c.tenant_id,
    "flow": usage.c.flow_id,
    "number": usage.c.number,
    "tier": usage.c.tier,
    "day": usage.c.started_at // literal_column(str(DAY_MICROSECONDS), BigInteger),
}
_GROUP_KEY_PATTERN = f"({'|'.join(_GROUP_COLUMNS)})"

GroupBy = Annotated[
    str,
    Meta(
        pattern=f"^{_GROUP_KEY_PATTERN}(,{_GROUP_KEY_PATTERN}){{0,4}}{PATTERN_END}",
        description="tenant, flow, number, tier, day: day,tier",
    ),
]


class UsageQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How to group, and the first and last day (UTC, both included). Without days: the current month so far."""

    by: GroupBy = "day"
    since: date | None = None
    until: date | None = None


class UsageTotals(msgspec.Struct, frozen=True, kw_only=True):
    """``billed_microseconds`` and ``billed_seconds`` are the same duration."""

    calls: int
    billed_microseconds: int
    billed_seconds: float
    cost_micro_usd: int


class UsageRow(UsageTotals, frozen=True, kw_only=True):
    """Totals of one group; the keys that were not grouped by are absent."""

    tenant: str | UnsetType = UNSET
    flow: str | UnsetType = UNSET
    number: str | UnsetType = UNSET
    tier: str | UnsetType = UNSET
    day: date | UnsetType = UNSET


class UsageReport(msgspec.Struct, frozen=True):
    """Rows in the order of their keys ``by``; ``total`` counts each call once."""

    since: date
    until: date
    by: list[str]
    rows: list[UsageRow]
    total: UsageTotals


async def query_usage(database: Database, actor: Actor, params: UsageQuery) -> UsageReport:
    """Return a tenant's usage, or all tenants' if a platform key names none. Raises InvalidInput."""
    since, until = _date_range(params, actor.now)
    by = [key for key in _GROUP_COLUMNS if key in params.by.split(",")]
    where = [
        usage.c.started_at >= _to_microseconds(since),
        usage.c.started_at < _to_microseconds(until) + DAY_MICROSECONDS,
    ]
    if actor.tenant or actor.role != "platform":
        where.append(usage.c.tenant_id == actor.tenant)
    async with database.read() as connection:
        rows = (await connection.execute(_usage_query(by, where))).all()
    if len(rows) > MAX_ROWS:
        problem = Diagnostic("by", "too-many", f"more than {MAX_ROWS} rows: query fewer days or group by fewer keys")
        raise InvalidInput("Too much at once.", [problem])
    return UsageReport(
        since,
        until,
        by,
        sorted((_from_row(row, by) for row in rows), key=lambda row: group_values(row, by)),
        _grand_total(rows),
    )


def _usage_query(group_by: Sequence[str], where: Sequence[ColumnElement[bool]]) -> Select[*tuple[Any, ...]]:
    """Build one statement, so that rows and total are consistent: first grouped by call and key, then by key."""
    keys = [_GROUP_COLUMNS[key].label(key) for key in group_by]
    call_columns = [usage.c.tenant_id.label("of_tenant"), usage.c.call_id.label("of_call")]
    sum_columns = [
        _bigint_sum(usage.c.billed_microseconds).label("billed_microseconds"),
        _bigint_sum(usage.c.cost_micro_usd).label("cost_micro_usd"),
    ]
    group_columns = [*(_GROUP_COLUMNS[key] for key in group_by), usage.c.tenant_id, usage.c.call_id]
    call_sums = select(*keys, *call_columns, *sum_columns).where(*where).group_by(*group_columns).cte("call_sums")
    distinct_calls = select(call_sums.c.of_tenant, call_sums.c.of_call).distinct().subquery()
    call_count = select(func.count()).select_from(distinct_calls).scalar_subquery().label("call_count")
    columns = [call_sums.c[key] for key in group_by]
    totals = [
        _bigint_sum(call_sums.c.billed_microseconds).label("billed_microseconds"),
        _bigint_sum(call_sums.c.cost_micro_usd).label("cost_micro_usd"),
    ]
    query = select(*columns, func.count().label("calls"), *totals, call_count)
    return query.select_from(call_sums).group_by(*columns).limit(MAX_ROWS + 1)


def _bigint_sum(column: ColumnElement[int]) -> ColumnElement[int]:
    """Sum as an integer: PostgreSQL's sum of integers is a decimal."""
    return cast(func.sum(column), BigInteger)


def _from_row(row: Row[Any], group_by: Sequence[str]) -> UsageRow:
    keys = {key: getattr(row, key) for key in group_by}
    if "day" in keys:
        keys["day"] = date.fromordinal(EPOCH_ORDINAL + keys["day"])
    return UsageRow(
        **keys,
        calls=row.calls,
        billed_microseconds=row.billed_microseconds,
        billed_seconds=row.billed_microseconds / 1e6,
        cost_micro_usd=row.cost_micro_usd,
    )


def group_values(row: UsageRow, group_by: Sequence[str]) -> list[Any]:
    """Return the row's keys in the order of ``group_by``."""
    return [getattr(row, key) for key in group_by]


def _grand_total(rows: Sequence[Row[Any]]) -> UsageTotals:
    billed = sum(row.billed_microseconds for row in rows)
    calls = rows[0].call_count if rows else 0
    return UsageTotals(
        calls=calls,
        billed_microseconds=billed,
        billed_seconds=billed / 1e6,
        cost_micro_usd=sum(row.cost_micro_usd for row in rows),
    )


def _date_range(params: UsageQuery, now: int) -> tuple[date, date]:
    until = params.until or datetime.fromtimestamp(now // 1_000_000, UTC).date()
    since = params.since or until.replace(day=1)
    if since > until:
        raise InvalidInput("Invalid period.", [Diagnostic("since", "invalid-value", f"{since} is after {until}")])
    if until - since >= timedelta(MAX_DAYS):
        problem = Diagnostic("since", "too-many", f"at most {MAX_DAYS} days can be queried at once")
        raise InvalidInput("Too much at once.", [problem])
    return since, until


def _to_microseconds(day: date) -> int:
    return (day.toordinal() - EPOCH_ORDINAL) * DAY_MICROSECONDS
