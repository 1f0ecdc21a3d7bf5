"""The Liquid filters of flows: the library's bounded filters, and our own for spoken values.

No filter reads the clock: ``now`` is the time of the event. Each filter spends from the rendering's work budget and
checks the size of its input, so no chain of filters takes long or produces an endless text. Every failure of a filter
is an error of the template, never of the engine.
"""

import re
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from liquid import Environment, RenderContext
from liquid.exceptions import FilterArgumentError, LiquidError

from vocelio.engine.templating import speech_format
from vocelio.engine.templating.budget import BudgetedContext, length_of

MAX_INPUT_LENGTH = 10_000  # characters of a text or elements of a list
MAX_NUMBER = 10**30
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_LIBRARY_FILTERS = (
    "abs", "append", "at_least", "at_most", "capitalize", "ceil", "compact", "concat", "default", "divided_by",
    "downcase", "first", "floor", "last", "lstrip", "minus", "modulo", "plus", "prepend", "remove", "reverse",
    "round", "rstrip", "size", "slice", "split", "squish", "strip", "times", "truncate", "truncatewords", "upcase",
    "url_encode",
)  # fmt: skip
_DATE_FORMAT = re.compile(r"(%-?[aAbBdeHIjmMpSyY%]|[^%]){1,60}")  # the strftime formats with short results


def _check_size(value: object) -> None:
    if length_of(value) > MAX_INPUT_LENGTH:
        raise FilterArgumentError(f"takes at most {MAX_INPUT_LENGTH:,} characters or elements", token=None)
    if isinstance(value, int | float) and abs(value) > MAX_NUMBER:
        raise FilterArgumentError("the number is too large", token=None)


def _bound_filter(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    wants_context = getattr(function, "with_context", False)

    def bounded(*values: Any, context: RenderContext, **options: Any) -> Any:
        if wants_context:
            options["context"] = context
        try:
            for value in (*values, *options.values()):
                _check_size(value)
            if isinstance(context, BudgetedContext):
                context.spend(sum(length_of(value) for value in values) + 10)
            return function(*values, **options)
        except LiquidError as error:
            raise FilterArgumentError(f"`{name}`: {error.message}", token=None) from error
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            raise FilterArgumentError(f"`{name}` does not accept this value", token=None) from error

    bounded.with_context = True  # type: ignore[attr-defined]
    bounded.with_environment = getattr(function, "with_environment", False)  # type: ignore[attr-defined]
    return bounded


def _with_context(function: Callable[..., Any]) -> Callable[..., Any]:
    function.with_context = True  # type: ignore[attr-defined]
    return function


def _join_filter(values: Any, separator: Any = " ") -> str:
    """Join the elements into one text."""
    parts = [str(value) for value in values] if isinstance(values, list | tuple) else [str(values)]
    _check_text_length(len(str(separator)) * len(parts) + sum(len(part) for part in parts))
    return str(separator).join(parts)


def _replace_filter(text: Any, old: Any, new: Any = "") -> str:
    """Replace every ``old`` by ``new``."""
    _check_text_length(len(str(text)) + len(str(new)) * str(text).count(str(old)))
    return str(text).replace(str(old), str(new))


def _check_text_length(length: int) -> None:
    if length > MAX_INPUT_LENGTH:
        raise FilterArgumentError("the resulting text is too long", token=None)


def _money_filter(value: Any, currency: Any = "USD") -> str:
    """Format an amount for speech: ``12.5`` is "12 dollars and 50 cents"."""
    amount = Decimal(str(value).strip().removeprefix("$").replace(",", ""))
    if not amount.is_finite():
        raise ValueError("not an amount")
    return speech_format.format_money(amount, str(currency))


@_with_context
def _date_filter(value: Any, form: Any = "", *, context: RenderContext) -> str:
    """Format a date for speech, or with a strftime ``form``. Accepts "now", "today" and ISO 8601."""
    moment = _parse_moment(value, context)
    if moment is None or isinstance(moment, time):
        return ""
    if not form:
        return speech_format.format_date(moment)
    if not _DATE_FORMAT.fullmatch(str(form)):
        raise FilterArgumentError(f"the format `{str(form)[:60]}` is not supported", token=None)
    return moment.strftime(str(form))


@_with_context
def _time_filter(value: Any, *, context: RenderContext) -> str:
    """Format a time of day for speech. Accepts "now", ISO 8601 and "14:30"."""
    moment = _parse_moment(value, context)
    if isinstance(moment, datetime):
        moment = moment.time()
    return speech_format.format_time(moment) if isinstance(moment, time) else ""


def _parse_moment(value: Any, context: RenderContext) -> date | time | None:
    """Parse a date or time; an instant with a time zone is converted to the zone of ``now``."""
    now = context.resolve("now")
    moment = value
    if isinstance(value, str):
        text = value.strip()
        if not text:
            return None
        if text in ("now", "today"):
            return now if isinstance(now, datetime) else None
        moment = time.fromisoformat(text) if re.match(r"\d\d:", text) else datetime.fromisoformat(text)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        moment = EPOCH + timedelta(seconds=value)
    if isinstance(moment, datetime) and moment.tzinfo is not None and isinstance(now, datetime):
        return moment.astimezone(now.tzinfo)
    return moment if isinstance(moment, date | time) else None


def _build_filters() -> dict[str, Callable[..., Any]]:
    library: dict[str, Any] = dict(Environment().filters)
    own = {
        "join": _join_filter,
        "replace": _replace_filter,
        "digits": speech_format.spell_digits,
        "money": _money_filter,
        "date": _date_filter,
        "time": _time_filter,
    }
    return {
        name: _bound_filter(name, function)
        for name, function in {**{n: library[n] for n in _LIBRARY_FILTERS}, **own}.items()
    }


FILTERS = _build_filters()
