"""The wall clock, and instants as RFC 3339 text. The only module that reads the wall clock.

Inside the process and in the database an instant is whole microseconds since 1970, UTC. Durations and timers use the
event loop's clock instead, so that tests can control time.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import msgspec

WallClock = Callable[[], int]
"""Gives whole microseconds since 1970, UTC."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NAIVE_EPOCH = _EPOCH.replace(tzinfo=None)  # formatting without a time zone takes half the time
_MICROSECOND = timedelta(microseconds=1)


def wall_clock() -> int:
    """Read the machine's wall clock."""
    return time.time_ns() // 1_000


def to_rfc3339(microseconds: int) -> str:
    """Format an instant in UTC, always with six digits: ``2026-11-30T23:10:00.123456Z``."""
    return (_NAIVE_EPOCH + timedelta(microseconds=microseconds)).isoformat(timespec="microseconds") + "Z"


def from_rfc3339(text: str) -> int:
    """Parse RFC 3339 text of any offset into microseconds. Raises ValueError.

    A time without an offset is not RFC 3339. Digits beyond the sixth are rounded.
    """
    try:
        instant = msgspec.convert(text, datetime)
    except msgspec.ValidationError as error:
        raise ValueError("not an RFC 3339 instant") from error
    if instant.tzinfo is None:
        raise ValueError("not an RFC 3339 instant: the offset is missing")
    return (instant - _EPOCH) // _MICROSECOND
