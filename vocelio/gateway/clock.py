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


class Instant(int):
    """Whole microseconds since 1970, UTC, that JSON shows as RFC 3339 text: ``2026-11-30T23:10:00.123456Z``."""

    __slots__ = ()

    @classmethod
    def optional(cls, microseconds: int | None) -> "Instant | None":
        """Convert a value that may be missing."""
        return None if microseconds is None else cls(microseconds)

    @classmethod
    def decode_json(cls, value: object) -> "Instant":
        """Decode a JSON value. Raises ValueError."""
        if not isinstance(value, str):
            raise ValueError(f"Expected `str`, got `{type(value).__name__}`")
        microseconds = from_rfc3339(value)
        if microseconds < 0:
            raise ValueError("the instant is before 1970")
        return cls(microseconds)


def encode_hook(value: object) -> str:
    """msgspec's ``enc_hook``: write instants as RFC 3339 texts."""
    if isinstance(value, Instant):
        return to_rfc3339(value)
    raise NotImplementedError(type(value))


def decode_hook(kind: type, value: object) -> object:
    """msgspec's ``dec_hook``: read instants from RFC 3339 texts."""
    if kind is Instant:
        return Instant.decode_json(value)
    raise NotImplementedError(kind)


def schema_hook(kind: type) -> dict[str, str]:
    """msgspec's ``schema_hook``: describe instants in JSON Schema."""
    if kind is Instant:
        return {"type": "string", "format": "date-time", "description": "RFC 3339, in UTC with microseconds"}
    raise NotImplementedError(kind)
