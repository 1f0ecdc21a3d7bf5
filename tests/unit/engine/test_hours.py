"""Opening hours: spans past midnight, holidays, special days, and nights when clocks change."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vocelio.engine.hours import WEEKDAYS, OpeningHours, get_time_zone

WEEK = OpeningHours(
    "Europe/London",
    {"mon": (("09:00", "12:00"), ("13:00", "24:00")), "fri": (("22:00", "06:00"),), "sun": (("00:00", "02:00"),)},
    ("2026-04-03", "2026-05-30"),
    {"2026-04-06": (("10:00", "11:00"),), "2026-04-07": ()},
)


@pytest.mark.parametrize(
    ("local", "state"),
    [
        ("2026-03-02T08:59", "closed"),
        ("2026-03-02T09:00", "open"),
        ("2026-03-02T11:59", "open"),
        ("2026-03-02T12:00", "closed"),
        ("2026-03-02T23:59", "open"),
        ("2026-03-03T00:00", "closed"),
        ("2026-03-06T21:59", "closed"),
        ("2026-03-06T22:00", "open"),
        ("2026-03-07T05:59", "open"),
        ("2026-03-07T06:00", "closed"),
        ("2026-04-03T23:00", "holiday"),
        ("2026-04-04T01:00", "closed"),
        ("2026-04-06T09:30", "closed"),
        ("2026-04-06T10:30", "open"),
        ("2026-04-07T10:30", "closed"),
        ("2026-05-30T05:00", "open"),
        ("2026-05-30T07:00", "holiday"),
    ],
)
def test_state_at_local_time(local: str, state: str) -> None:
    assert WEEK.state_at(datetime.fromisoformat(local)) == state


def test_wall_clock_counts_when_clocks_change() -> None:
    london, hours = get_time_zone("Europe/London"), OpeningHours(weekly={"sun": (("00:30", "01:30"),)})
    spring = datetime(2026, 3, 29, 0, 0, tzinfo=UTC)  # at 01:00 UTC it becomes 02:00
    minutes = [hours.state_at((spring + timedelta(minutes=m)).astimezone(london)) for m in range(0, 180, 30)]
    assert minutes == ["closed", "open", "closed", "closed", "closed", "closed"]
    autumn = datetime(2026, 10, 24, 23, 0, tzinfo=UTC)  # 00:00 there; at 01:00 UTC it becomes 01:00 again
    minutes = [hours.state_at((autumn + timedelta(minutes=m)).astimezone(london)) for m in range(0, 210, 30)]
    assert minutes == ["closed", "open", "open", "closed", "open", "closed", "closed"]


def test_problems_have_paths() -> None:
    invalid = OpeningHours(
        "Mars/Olympus", {"mon": (("09:00", "09:00"), ("24:00", "05:00"))}, ("2026-02-30",), {"2025-02-29": ()}
    )
    assert [path for path, _ in invalid.problems()] == [
        "time_zone",
        "weekly.mon[0]",
        "weekly.mon[1]",
        "holidays[0]",
        "special.2025-02-29",
    ]


@pytest.mark.parametrize("name", ["", "UTC", "America/Chicago"])
def test_known_time_zones(name: str) -> None:
    assert get_time_zone(name) is not None


@pytest.mark.parametrize("name", ["Nowhere", "../../etc/passwd", "America", "/etc/localtime", "a\0b", "x" * 5000])
def test_unknown_time_zone_is_none(name: str) -> None:
    assert get_time_zone(name) is None


CLOCK = st.builds("{:02}:{:02}".format, st.integers(0, 23), st.integers(0, 59))


@given(
    st.dictionaries(st.sampled_from(WEEKDAYS), st.lists(st.tuples(CLOCK, CLOCK), max_size=3).map(tuple)), st.datetimes()
)
def test_state_is_open_or_closed_for_any_time(weekly: dict, moment: datetime) -> None:
    if moment.year > 1:
        assert OpeningHours(weekly=weekly).state_at(moment) in ("open", "closed")
