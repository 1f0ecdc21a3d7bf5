"""Usage: what is billed, summed over whole days (UTC), as JSON or as CSV.

A call belongs to the day on which it began, all of it, and its cost is what its segments say: so the sums agree with
the calls to the micro-dollar, however they are grouped. A call with segments at two tiers counts once in each tier's
row, and once in the total. Calls that were turned away before a flow began have no usage.

In CSV, a text that begins like a formula is given an apostrophe, since some spreadsheets run what they open. A
telephone number begins with ``+``, too, and is left as it is: with digits only behind it, it is a number and nothing
that could be run, and whoever reads the file by a program finds the same number as everywhere else.
"""

import csv
import io
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType
from sqlalchemy import BigInteger, ColumnElement, Row, Select, cast, func, literal_column, select

from vocelio.engine.call_info import E164_PATTERN
from vocelio.engine.diagnostics import Diagnostic
from vocelio.gateway.errors import UnprocessableContent
from vocelio.gateway.model.types import PATTERN_END
from vocelio.gateway.store.audit import Actor
from vocelio.gateway.store.db.database import Database
from vocelio.gateway.store.db.schema import usage

MAX_DAYS = 366
MAX_ROWS = 50_000  # 10 MB of JSON: every tenant of a large site by tier; by number and day it is a shorter period
DAY_MICROSECONDS = (
    86_400_000_000  # microseconds; in SQL as it stands, since PostgreSQL takes two parameters for two different things
)
EPOCH_ORDINAL = date(1970, 1, 1).toordinal()
CSV_FORMULA_PREFIXES = ("=", "+", "-", "@", "\t", "\r", "\n")  # OWASP's list

_GROUP_COLUMNS: dict[str, ColumnElement[Any]] = {
    "tenant": usage.c.tenant_id,
    "flow": usage.c.flow_id,
    "number": usage.c.number,
    "tier": usage.c.tier,
    "day": usage.c.started_at // literal_column(str(DAY_MICROSECONDS), BigInteger),
}
_GROUP_KEY_PATTERN = f"({'|'.join(_GROUP_COLUMNS)})"
_TOTAL_FIELDS = ("calls", "billed_microseconds", "billed_seconds", "cost_micro_usd")

GroupBy = Annotated[
    str,
    Meta(
        pattern=f"^{_GROUP_KEY_PATTERN}(,{_GROUP_KEY_PATTERN}){{0,4}}{PATTERN_END}",
        description="tenant, flow, number, tier, day: day,tier",
    ),
]


class UsageQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A row for each what; from which day to which, both included (UTC). Without days: the month so far.

    ``format`` comes before what the request accepts.
    """

    by: GroupBy = "day"
    since: date | None = None
    until: date | None = None
    format: Literal["json", "csv"] | None = None


class UsageTotals(msgspec.Struct, frozen=True, kw_only=True):
    """``billed_microseconds`` and ``billed_seconds`` are the same duration."""

    calls: int
    billed_microseconds: int
    billed_seconds: float
    cost_micro_usd: int


class UsageRow(UsageTotals, frozen=True, kw_only=True):
    """A sum, and of what: the keys that were asked for."""

    tenant: str | UnsetType = UNSET
    flow: str | UnsetType = UNSET
    number: str | UnsetType = UNSET
    tier: str | UnsetType = UNSET
    day: date | UnsetType = UNSET


class UsageReport(msgspec.Struct, frozen=True):
    """Rows in the order of their keys, ``by``; ``total`` counts each call once."""

    since: date
    until: date
    by: list[str]
    rows: list[UsageRow]
    total: UsageTotals


async def query_usage(database: Database, actor: Actor, params: UsageQuery) -> UsageReport:
    """A tenant's usage; of all tenants when a platform key names none. Raises Invalid."""
    since, until = _date_range(params, actor.now)
    by = [key for key in _GROUP_COLUMNS if key in params.by.split(",")]
    where = [
        usage.c.started_at >= _to_microseconds(since),
        usage.c.started_at < _to_microseconds(until) + DAY_MICROSECONDS,
    ]
    if actor.tenant or actor.role != "platform":
        where.append(usage.c.tenant_id == actor.tenant)
    async with database.read() as connection:
        found = (await connection.execute(_usage_query(by, where))).all()
    if len(found) > MAX_ROWS:
        problem = Diagnostic("by", "too-many", f"more than {MAX_ROWS} rows: ask for fewer days, or by less")
        raise UnprocessableContent("That is too much at once.", [problem])
    return UsageReport(
        since,
        until,
        by,
        sorted((_from_row(row, by) for row in found), key=lambda row: _group_values(row, by)),
        _grand_total(found),
    )


def to_csv(report: UsageReport) -> bytes:
    """The rows, without the total: whoever adds them up must not count everything twice."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow([*report.by, *_TOTAL_FIELDS])
    for row in report.rows:
        seconds = f"{row.billed_microseconds // 1_000_000}.{row.billed_microseconds % 1_000_000:06}"
        writer.writerow(
            [
                *map(_escape_csv_formula, _group_values(row, report.by)),
                row.calls,
                row.billed_microseconds,
                seconds,
                row.cost_micro_usd,
            ]
        )
    return text.getvalue().encode()


def _usage_query(group_by: Sequence[str], where: Sequence[ColumnElement[bool]]) -> Select[*tuple[Any, ...]]:
    """One statement, so that rows and total are of one moment: a row for each call and key, then one for each key."""
    keys = [_GROUP_COLUMNS[key].label(key) for key in group_by]
    whose = [usage.c.tenant_id.label("of_tenant"), usage.c.call_id.label("of_call")]
    sums = [
        _bigint_sum(usage.c.billed_microseconds).label("billed_microseconds"),
        _bigint_sum(usage.c.cost_micro_usd).label("cost_micro_usd"),
    ]
    grouped = [*(_GROUP_COLUMNS[key] for key in group_by), usage.c.tenant_id, usage.c.call_id]
    parts = select(*keys, *whose, *sums).where(*where).group_by(*grouped).cte("parts")
    each = select(parts.c.of_tenant, parts.c.of_call).distinct().subquery()
    every = select(func.count()).select_from(each).scalar_subquery().label("every")
    columns = [parts.c[key] for key in group_by]
    totals = [
        _bigint_sum(parts.c.billed_microseconds).label("billed_microseconds"),
        _bigint_sum(parts.c.cost_micro_usd).label("cost_micro_usd"),
    ]
    query = select(*columns, func.count().label("calls"), *totals, every)
    return query.select_from(parts).group_by(*columns).limit(MAX_ROWS + 1)


def _bigint_sum(column: ColumnElement[int]) -> ColumnElement[int]:
    """PostgreSQL's sum of whole numbers is a decimal."""
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


def _group_values(row: UsageRow, group_by: Sequence[str]) -> list[Any]:
    return [getattr(row, key) for key in group_by]


def _grand_total(rows: Sequence[Row[Any]]) -> UsageTotals:
    billed = sum(row.billed_microseconds for row in rows)
    calls = rows[0].every if rows else 0
    return UsageTotals(
        calls=calls,
        billed_microseconds=billed,
        billed_seconds=billed / 1e6,
        cost_micro_usd=sum(row.cost_micro_usd for row in rows),
    )


def _escape_csv_formula(value: object) -> str:
    text = str(value)
    if text.startswith(CSV_FORMULA_PREFIXES) and not E164_PATTERN.fullmatch(text):
        return f"'{text}"
    return text


def _date_range(params: UsageQuery, now: int) -> tuple[date, date]:
    until = params.until or datetime.fromtimestamp(now // 1_000_000, UTC).date()
    since = params.since or until.replace(day=1)
    if since > until:
        raise UnprocessableContent(
            "There are no such days.", [Diagnostic("since", "invalid-value", f"{since} is after {until}")]
        )
    if until - since >= timedelta(MAX_DAYS):
        problem = Diagnostic("since", "too-many", f"at most {MAX_DAYS} days can be asked for at once")
        raise UnprocessableContent("That is too much at once.", [problem])
    return since, until


def _to_microseconds(day: date) -> int:
    return (day.toordinal() - EPOCH_ORDINAL) * DAY_MICROSECONDS
