"""The Liquid filters that a phone flow may use: those of the library that stay within bounds, and our own.

None reads the clock. Each checks the size of what it is given, so that no chain of filters grows a text
beyond what a caller could listen to.
"""

from collections.abc import Callable
from typing import Any

from liquid import Environment
from liquid.exceptions import FilterArgumentError

MAX_INPUT = 10_000  # characters of a text, or elements of a list

_LIBRARY = (
    "abs", "append", "at_least", "at_most", "capitalize", "ceil", "compact", "concat", "default", "divided_by",
    "downcase", "first", "floor", "last", "lstrip", "minus", "modulo", "plus", "prepend", "remove", "reverse",
    "round", "rstrip", "size", "slice", "split", "squish", "strip", "sum", "times", "truncate", "truncatewords",
    "uniq", "upcase", "url_encode",
)  # fmt: skip


def _within(name: str, value: object, limit: int = MAX_INPUT) -> None:
    if isinstance(value, str | list | tuple | dict) and len(value) > limit:
        raise FilterArgumentError(f"`{name}` takes at most {limit:,} characters or elements", token=None)
    if isinstance(value, int) and abs(value) > 10**30:
        raise FilterArgumentError(f"`{name}`: the number is too large", token=None)


def _bounded(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    def bounded(*values: Any, **options: Any) -> Any:
        for value in values:
            _within(name, value)
        return function(*values, **options)

    for mark in ("with_context", "with_environment"):
        setattr(bounded, mark, getattr(function, mark, False))
    return bounded


def join(values: Any, separator: Any = " ") -> str:
    """The elements as one text."""
    parts = [str(value) for value in values] if isinstance(values, list | tuple) else [str(values)]
    _within("join", "x" * min(MAX_INPUT + 1, len(str(separator)) * len(parts)))
    return str(separator).join(parts)


def replace(text: Any, old: Any, new: Any = "") -> str:
    """Every ``old`` in the text as ``new``."""
    if len(str(new)) * str(text).count(str(old)) > MAX_INPUT:
        raise FilterArgumentError("`replace` makes the text too long", token=None)
    return str(text).replace(str(old), str(new))


def digits(value: Any) -> str:
    """A number as a person reads it out, digit by digit: ``1234`` is "1 2 3 4"."""
    return " ".join(character for character in str(value) if character.isalnum())


def _filters() -> dict[str, Callable[..., Any]]:
    library: dict[str, Any] = dict(Environment().filters)
    own = {"join": join, "replace": replace, "digits": digits}
    return {name: _bounded(name, function) for name, function in {**{n: library[n] for n in _LIBRARY}, **own}.items()}


FILTERS = _filters()
