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

from vocelio.engine.call_info import E164
from vocelio.engine.diagnostics import Problem
from vocelio.gateway.errors import Invalid
from vocelio.gateway.model.types import END
from vocelio.gateway.store.audit.actor import Actor
from vocelio.gateway.store.db.database import Database
from vocelio.gateway.store.db.schema import usage

MAX_DAYS = 366
MAX_ROWS = 50_000  # 10 MB of JSON: every tenant of a large site by tier; by number and day it is a shorter period
DAY = (
    86_400_000_000  # microseconds; in SQL as it stands, since PostgreSQL takes two parameters for two different things
)
EPOCH = date(1970, 1, 1).toordinal()
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")  # OWASP's list

_KEYS: dict[str, ColumnElement[Any]] = {
    "tenant": usage.c.tenant_id,
    "flow": usage.c.flow_id,
    "number": usage.c.number,
    "tier": usage.c.tier,
    "day": usage.c.at // literal_column(str(DAY), BigInteger),
}
_KEY = f"({'|'.join(_KEYS)})"
_SUMS = ("calls", "billed", "seconds", "micro_usd")

By = Annotated[
    str, Meta(pattern=f"^{_KEY}(,{_KEY}){{0,4}}{END}", description="tenant, flow, number, tier, day: day,tier")
]


class Asked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A row for each what; from which day to which, both included (UTC). Without days: the month so far.

    ``format`` comes before what the request accepts.
    """

    by: By = "day"
    since: date | None = None
    until: date | None = None
    format: Literal["json", "csv"] | None = None


class Sum(msgspec.Struct, frozen=True, kw_only=True):
    """``billed`` is in microseconds, ``seconds`` the same in seconds."""

    calls: int
    billed: int
    seconds: float
    micro_usd: int


class UsageRow(Sum, frozen=True, kw_only=True):
    """A sum, and of what: the keys that were asked for."""

    tenant: str | UnsetType = UNSET
    flow: str | UnsetType = UNSET
    number: str | UnsetType = UNSET
    tier: str | UnsetType = UNSET
    day: date | UnsetType = UNSET


class Usage(msgspec.Struct, frozen=True):
    """Rows in the order of their keys, ``by``; ``total`` counts each call once."""

    since: date
    until: date
    by: list[str]
    rows: list[UsageRow]
    total: Sum


async def used(database: Database, actor: Actor, asked: Asked) -> Usage:
    """A tenant's usage; of all tenants when a platform key names none. Raises Invalid."""
    since, until = _days(asked, actor.at)
    by = [key for key in _KEYS if key in asked.by.split(",")]
    where = [usage.c.at >= _instant(since), usage.c.at < _instant(until) + DAY]
    if actor.tenant or actor.role != "platform":
        where.append(usage.c.tenant_id == actor.tenant)
    async with database.reading() as connection:
        found = (await connection.execute(_query(by, where))).all()
    if len(found) > MAX_ROWS:
        problem = Problem("by", "too-many", f"more than {MAX_ROWS} rows: ask for fewer days, or by less")
        raise Invalid("That is too much at once.", [problem])
    return Usage(
        since, until, by, sorted((_row(row, by) for row in found), key=lambda row: _keys(row, by)), _total(found)
    )


def to_csv(told: Usage) -> bytes:
    """The rows, without the total: whoever adds them up must not count everything twice."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow([*told.by, *_SUMS])
    for row in told.rows:
        seconds = f"{row.billed // 1_000_000}.{row.billed % 1_000_000:06}"
        writer.writerow([*map(_harmless, _keys(row, told.by)), row.calls, row.billed, seconds, row.micro_usd])
    return text.getvalue().encode()


def _query(by: Sequence[str], where: Sequence[ColumnElement[bool]]) -> Select[*tuple[Any, ...]]:
    """One statement, so that rows and total are of one moment: a row for each call and key, then one for each key."""
    keys = [_KEYS[key].label(key) for key in by]
    whose = [usage.c.tenant_id.label("of_tenant"), usage.c.call_id.label("of_call")]
    sums = [_sum(usage.c.billed).label("billed"), _sum(usage.c.micro_usd).label("micro_usd")]
    grouped = [*(_KEYS[key] for key in by), usage.c.tenant_id, usage.c.call_id]
    parts = select(*keys, *whose, *sums).where(*where).group_by(*grouped).cte("parts")
    each = select(parts.c.of_tenant, parts.c.of_call).distinct().subquery()
    every = select(func.count()).select_from(each).scalar_subquery().label("every")
    columns = [parts.c[key] for key in by]
    totals = [_sum(parts.c.billed).label("billed"), _sum(parts.c.micro_usd).label("micro_usd")]
    query = select(*columns, func.count().label("calls"), *totals, every)
    return query.select_from(parts).group_by(*columns).limit(MAX_ROWS + 1)


def _sum(column: ColumnElement[int]) -> ColumnElement[int]:
    """PostgreSQL's sum of whole numbers is a decimal."""
    return cast(func.sum(column), BigInteger)


def _row(row: Row[Any], by: Sequence[str]) -> UsageRow:
    keys = {key: getattr(row, key) for key in by}
    if "day" in keys:
        keys["day"] = date.fromordinal(EPOCH + keys["day"])
    return UsageRow(**keys, calls=row.calls, billed=row.billed, seconds=row.billed / 1e6, micro_usd=row.micro_usd)


def _keys(row: UsageRow, by: Sequence[str]) -> list[Any]:
    return [getattr(row, key) for key in by]


def _total(found: Sequence[Row[Any]]) -> Sum:
    billed = sum(row.billed for row in found)
    calls = found[0].every if found else 0
    return Sum(calls=calls, billed=billed, seconds=billed / 1e6, micro_usd=sum(row.micro_usd for row in found))


def _harmless(value: object) -> str:
    text = str(value)
    if text.startswith(FORMULA) and not E164.fullmatch(text):
        return f"'{text}"
    return text


def _days(asked: Asked, now: int) -> tuple[date, date]:
    until = asked.until or datetime.fromtimestamp(now // 1_000_000, UTC).date()
    since = asked.since or until.replace(day=1)
    if since > until:
        raise Invalid("There are no such days.", [Problem("since", "value", f"{since} is after {until}")])
    if until - since >= timedelta(MAX_DAYS):
        problem = Problem("since", "too-many", f"at most {MAX_DAYS} days can be asked for at once")
        raise Invalid("That is too much at once.", [problem])
    return since, until


def _instant(day: date) -> int:
    return (day.toordinal() - EPOCH) * DAY
