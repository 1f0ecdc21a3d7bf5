"""Keyset pagination: a cursor is the sort key of the last item, so that every page is found as fast as the first, and
rows that are added or deleted meanwhile neither repeat nor hide others.

    last_key = pagination.decode_cursor(cursor, int, str)      # None for the first page
    rows = ...  WHERE (at, id) < last_key  ORDER BY at DESC, id DESC  LIMIT limit + 1
    return pagination.make_page(rows, limit, from_row, lambda row: (row.at, row.id))
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Generic, TypeVar

import msgspec
from msgspec import Meta

from vocelio.engine.diagnostics import Diagnostic
from vocelio.gateway.errors import InvalidInput

RowT = TypeVar("RowT")
ItemT = TypeVar("ItemT")

MAX_CURSOR_LENGTH = 500  # two names and an instant have 200

_KEY_TYPES: dict[type, Any] = {
    int: Annotated[int, Meta(ge=0, le=2**63 - 1)],
    str: Annotated[str, Meta(pattern=r"^[^\x00]*$")],
}


class Page(msgspec.Struct, Generic[ItemT], frozen=True):
    """One page. ``next_cursor`` is the cursor of the following page, empty on the last one."""

    items: list[ItemT]
    next_cursor: str = ""


def decode_cursor(cursor: str, *key_types: type) -> tuple[Any, ...] | None:
    """Return the sort key after which the page starts, None for the first page. Raises InvalidInput."""
    if not cursor:
        return None
    try:
        key = urlsafe_b64decode(cursor[:MAX_CURSOR_LENGTH] + "==")
        raw = msgspec.json.decode(key, type=list[Any])
        return tuple(msgspec.convert(part, _KEY_TYPES[kind]) for part, kind in zip(raw, key_types, strict=True))
    except (ValueError, msgspec.DecodeError):
        problem = Diagnostic("cursor", "invalid-value", "a cursor is the `next_cursor` of the previous page")
        raise InvalidInput("Invalid cursor.", [problem]) from None


def make_page(
    rows: Sequence[RowT], limit: int, from_row: Callable[[RowT], ItemT], sort_key: Callable[[RowT], Sequence[Any]]
) -> Page[ItemT]:
    """Make a page of at most ``limit`` rows; one further row shows that there is another page."""
    has_more = len(rows) > limit
    return Page([from_row(row) for row in rows[:limit]], _encode_cursor(sort_key(rows[limit - 1])) if has_more else "")


def _encode_cursor(key: Sequence[Any]) -> str:
    return urlsafe_b64encode(msgspec.json.encode(tuple(key))).decode().rstrip("=")
