"""Opening hours of a department, in its local time.

A special day's spans replace those of the week; a holiday has none. A span that ends at or before its start runs past
midnight and belongs to the day on which it starts, so it continues into a holiday. Only wall-clock times are compared,
also on the nights when clocks change.
"""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta, tzinfo
from functools import lru_cache
from typing import Annotated, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
from msgspec import Meta

Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
TimeOfDay = Annotated[
    str, Meta(pattern=r"^(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)$", description="a time of day such as 09:30")
]
IsoDate = Annotated[
    str, Meta(pattern=r"^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$", description="a date such as 2026-12-25")
]
Span = tuple[TimeOfDay, TimeOfDay]
Spans = Annotated[tuple[Span, ...], Meta(max_length=10)]
Weekly = dict[Weekday, Spans]
Holidays = Annotated[tuple[IsoDate, ...], Meta(max_length=400)]
SpecialDays = Annotated[dict[IsoDate, Spans], Meta(max_length=400)]

WEEKDAYS: tuple[Weekday, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


class OpeningHours(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Weekly spans, such as ``{"mon": [["09:00", "17:30"]]}``, and exceptions by date.

    ``time_zone`` is an IANA name; empty means the tenant's.
    """

    time_zone: str = ""
    weekly: Weekly = {}
    holidays: Holidays = ()
    special: SpecialDays = {}

    def state_at(self, local: datetime) -> Literal["open", "closed", "holiday"]:
        """Return the state at ``local``, a time in the hours' own time zone."""
        today, clock = local.date(), f"{local:%H:%M}"
        if any(start <= clock < end or (start <= clock and end <= start) for start, end in self._spans_on(today)):
            return "open"
        yesterday = today - timedelta(days=1)
        if any(end <= start and clock < end for start, end in self._spans_on(yesterday)):
            return "open"
        is_holiday = today.isoformat() in self.holidays and today.isoformat() not in self.special
        return "holiday" if is_holiday else "closed"

    def _spans_on(self, day: date) -> tuple[Span, ...]:
        iso_date = day.isoformat()
        if iso_date in self.special:
            return self.special[iso_date]
        return () if iso_date in self.holidays else self.weekly.get(WEEKDAYS[day.weekday()], ())

    def problems(self) -> Iterator[tuple[str, str]]:
        """Yield path and message of each error that the fields' types cannot express."""
        if self.time_zone and get_time_zone(self.time_zone) is None:
            yield "time_zone", f"there is no time zone `{self.time_zone[:64]}`"
        for field, days in (("weekly", self.weekly), ("special", self.special)):
            for day, spans in days.items():
                for index, (start, end) in enumerate(spans):
                    if start in (end, "24:00"):
                        yield f"{field}.{day}[{index}]", "a span needs a start and a later end, or runs past midnight"
        for index, day in enumerate(self.holidays):
            if not _is_valid_date(day):
                yield f"holidays[{index}]", f"there is no such day as {day}"
        for day in self.special:
            if not _is_valid_date(day):
                yield f"special.{day}", f"there is no such day as {day}"


def _is_valid_date(text: str) -> bool:
    try:
        return bool(date.fromisoformat(text))
    except ValueError:
        return False


@lru_cache(maxsize=600)
def get_time_zone(name: str) -> tzinfo | None:
    """Return the time zone of an IANA name, UTC for an empty name, None for an unknown one."""
    if not name:
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None
