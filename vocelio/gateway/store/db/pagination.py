"""Pages of a list: a cursor is the key of the last row that was given, so that a page is found as fast as the first,
and what is added or removed meanwhile neither repeats nor hides what was there all along.

    last = pages.after(cursor, int, str)      # None for the first page
    rows = ...  WHERE (at, id) < last  ORDER BY at DESC, id DESC  LIMIT limit + 1
    return pages.cut(rows, limit, shape, lambda row: (row.at, row.id))
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Generic, TypeVar

import msgspec
from msgspec import Meta

from vocelio.engine.diagnostics import Diagnostic
from vocelio.gateway.errors import UnprocessableContent

RowT = TypeVar("RowT")
ItemT = TypeVar("ItemT")

MAX_CURSOR_LENGTH = 500  # characters: two names and an instant have 200

_KEY_TYPES: dict[type, Any] = {
    int: Annotated[int, Meta(ge=0, le=2**63 - 1)],
    str: Annotated[str, Meta(pattern=r"^[^\x00]*$")],
}


class Page(msgspec.Struct, Generic[ItemT], frozen=True):
    """One page. ``next`` is the cursor of the page behind it; empty when there is none."""

    items: list[ItemT]
    next_cursor: str = ""


def decode_cursor(cursor: str, *key_types: type) -> tuple[Any, ...] | None:
    """The key of the row that the page begins behind, None at the beginning. Raises Invalid."""
    if not cursor:
        return None
    try:
        key = urlsafe_b64decode(cursor[:MAX_CURSOR_LENGTH] + "==")
        raw = msgspec.json.decode(key, type=list[Any])
        return tuple(msgspec.convert(part, _KEY_TYPES[kind]) for part, kind in zip(raw, key_types, strict=True))
    except (ValueError, msgspec.DecodeError):
        problem = Diagnostic("cursor", "invalid-value", "a cursor is what the page before gave as `next`")
        raise UnprocessableContent("The cursor is none of this list.", [problem]) from None


def make_page(
    rows: Sequence[RowT], limit: int, from_row: Callable[[RowT], ItemT], sort_key: Callable[[RowT], Sequence[Any]]
) -> Page[ItemT]:
    """A page of at most ``limit`` rows; that there is one row more says that there is another page."""
    more = len(rows) > limit
    return Page([from_row(row) for row in rows[:limit]], _encode_cursor(sort_key(rows[limit - 1])) if more else "")


def _encode_cursor(key: Sequence[Any]) -> str:
    return urlsafe_b64encode(msgspec.json.encode(tuple(key))).decode().rstrip("=")
