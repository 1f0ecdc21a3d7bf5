"""Logging: one JSON object a line, or readable lines on a terminal; both redacted.

A task that starts to work on a call or a request says so with ``bind``; every line logged from then on by that task,
and by the tasks it starts, carries these fields. Every line is redacted when it is written, so that no log statement
can forget it; only a tenant's setting turns redaction off. Utterances, prompts and keys are never logged: those are
events. Lines that unauthenticated peers can cause have a rate limit, so that they cannot fill the disk.
"""

import contextvars
import json
import logging
import math
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TextIO

MASK = "***"
MIN_DIGITS = 7  # digits of a number that is masked: shorter ones are counts, ports and times
MAX_NUMBER_DIGITS = 15  # digits of a telephone number (E.164)
VISIBLE_DIGITS = 4  # last digits shown of a telephone number, so that someone who knows it can search for it
MIN_FULL_NUMBER_DIGITS = 11  # digits of a telephone number of which VISIBLE_DIGITS are shown; of a shorter one only 2

_CANDIDATE = re.compile(r"@|[0-9](?:[ .-]?[0-9]){6}")  # most texts have neither, and cost only this search
_EMAIL = re.compile(r"[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63})+")
_OCTET = "(?:1[0-9]{2}|2[0-5][0-9]|[1-9]?[0-9])"
_YEAR, _MONTH, _DAY = "(?:19|20)[0-9]{2}", "(?:0[1-9]|1[0-2])", "(?:0[1-9]|[12][0-9]|3[01])"
_IP_ADDRESS = rf"(?:{_OCTET}\.){{3}}{_OCTET}"
_DATE = rf"{_YEAR}(?P<between>[.-]){_MONTH}(?P=between){_DAY}|{_DAY}\.{_MONTH}\.{_YEAR}"
_DOTTED = r"(?=(?:\.?[0-9]){7})(?:[1-9][0-9]{0,3}|0[0-9]{1,3})(?:\.[0-9]{2,8}){2,}(?:\.[0-9])?|[0-9]{3}\.[0-9]{4}"
_NUMBER = re.compile(
    r"(?:(?<![0-9A-Za-z])|(?<=%[0-9A-Fa-f]{2})|(?<=%25[0-9A-Fa-f]{2}))"
    rf"(?:(?:{_IP_ADDRESS}|{_DATE})(?![.-]?[0-9A-Za-z])"
    r"|(?:(?P<sign>\+|%(?:25)?2[Bb])(?P<signed>[0-9](?:[ .-]?[0-9]){6,})"
    rf"|(?P<plain>{_DOTTED}|[0-9](?:[ -]?[0-9]){{6,}}))(?![0-9A-Za-z]))"
)

RATE_LIMITED: Mapping[str, object] = {"rate_limited": True}
"""``extra`` of log lines that an unauthenticated peer can cause, which are limited to MAX_LINES_PER_MINUTE."""
RATE_LIMITED_LOGGERS = ("uvicorn.error",)  # invalid requests; all of its lines have the rate limit
MAX_LINES_PER_MINUTE = 60  # of one kind: enough to see what happens
MAX_LINE_KINDS = 500  # more than the code has: messages are its constants

NOISY_LOGGERS = ("alembic",)  # logs its plugins and each migration at INFO, at every start


@dataclass(slots=True)
class LogContext:
    """Log fields of one call or request, shared by all of its tasks: what one binds, the others log too."""

    call: str = ""
    tenant: str = ""
    request_id: str = ""
    redacted: bool = True


_FIELDS = ("call", "tenant", "request_id")
_CONTEXT: contextvars.ContextVar[LogContext | None] = contextvars.ContextVar("log_context", default=None)


def bind(*, call: str = "", tenant: str = "", request_id: str = "", redacted: bool | None = None) -> None:
    """Set fields of the current log context; omitted ones stay as they are. ``redacted`` is the tenant's setting."""
    current = _CONTEXT.get()
    if current is None:
        current = LogContext()
        _CONTEXT.set(current)
    current.call = call or current.call
    current.tenant = tenant or current.tenant
    current.request_id = request_id or current.request_id
    current.redacted = current.redacted if redacted is None else redacted


def current_context() -> LogContext | None:
    """Return the current log context, for ``use_context`` in a task that does part of the work later."""
    return _CONTEXT.get()


@contextmanager
def use_context(context: LogContext | None) -> Iterator[None]:
    """Log with another task's context."""
    previous = _CONTEXT.set(context)
    try:
        yield
    finally:
        _CONTEXT.reset(previous)


def configure(stream: TextIO | None = None) -> None:
    """Log to standard error, or another stream, from now on; this includes libraries."""
    output: TextIO = sys.stderr if stream is None else stream
    handler = logging.StreamHandler(output)
    handler.addFilter(RateLimitFilter())
    handler.setFormatter(ConsoleFormatter() if output.isatty() else JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    for name in NOISY_LOGGERS:
        logging.getLogger(name).setLevel(logging.WARNING)


class JsonFormatter(logging.Formatter):
    """One line of JSON: time, level, logger, process, message; call, tenant, request_id and error if there are any."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "process": os.getpid(),
            "message": _redact_for_context(record.getMessage()),
            **_context_fields(),
        }
        if error := _format_error(self, record):
            line["error"] = error
        return json.dumps(line, ensure_ascii=False)


class ConsoleFormatter(logging.Formatter):
    """A line for a terminal, followed by the traceback of an error.

    Characters that are not printable are escaped: a terminal would execute them (ESC ] 0 sets its title).
    """

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC).astimezone().strftime("%H:%M:%S.%f")[:-3]
        fields = "".join(f" {name}={value}" for name, value in _context_fields().items())
        message = _redact_for_context(record.getMessage())
        line = _escape(f"{at} {record.levelname:<7} {record.name.rpartition('.')[2]}: {message}{fields}")
        error = _format_error(self, record)
        return "\n".join((line, _escape(error, keep="\n"))) if error else line


class LogRate:
    """Bounds the log lines of one kind: at most ``per_minute``, the rest is counted."""

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_minute, self._clock = per_minute, clock
        self._minute_started, self._logged, self._omitted = -math.inf, 0, 0

    def admit(self) -> str | None:
        """Return what to add to the next line (how many were omitted before it); None to omit it."""
        now = self._clock()
        if now >= self._minute_started + 60:
            self._minute_started, self._logged = now, 0
        if self._logged >= self._per_minute:
            self._omitted += 1
            return None
        self._logged += 1
        omitted, self._omitted = self._omitted, 0
        return f" ({omitted} more of these were not logged)" if omitted else ""


class RateLimitFilter(logging.Filter):
    """Limits lines with RATE_LIMITED, by logger and message; a later line says how many were omitted."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._rates: dict[tuple[str, str], LogRate] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if not (getattr(record, "rate_limited", False) or record.name in RATE_LIMITED_LOGGERS):
            return True
        kind = (record.name, str(record.msg))
        if len(self._rates) >= MAX_LINE_KINDS:
            self._rates.clear()
        omitted = self._rates.setdefault(kind, LogRate(MAX_LINES_PER_MINUTE, self._clock)).admit()
        if omitted:
            record.msg, record.args = f"{record.getMessage()}{omitted}", ()
        return omitted is not None


def redact(text: str) -> str:
    """Mask telephone and card numbers, other long digit strings, and e-mail addresses. Idempotent.

    Identifiers stay: digits next to a letter, as in a call SID, are not anyone's number (the letters of a %XX escape do
    not count). So do IP addresses, dates, and numbers with a single dot, unless they have seven digits on one side of
    it or look like 224.9663; in doubt a text is masked.
    """
    if not _CANDIDATE.search(text):
        return text
    return _NUMBER.sub(_mask, _EMAIL.sub(MASK, text))


def is_card(digits: str) -> bool:
    """Tell whether digits can be a payment card's number: 13 to 19 with a valid Luhn checksum (ISO/IEC 7812)."""
    if not 13 <= len(digits) <= 19:
        return False
    doubled = (int(digit) * 2 for digit in digits[-2::-2])
    return (sum(map(int, digits[-1::-2])) + sum(two - 9 if two > 9 else two for two in doubled)) % 10 == 0


def _mask(match: re.Match[str]) -> str:
    sign, signed, plain = match["sign"], match["signed"], match["plain"]
    if not signed:
        return MASK if plain else match[0]
    digits = re.sub("[ .-]", "", signed)
    if len(digits) > MAX_NUMBER_DIGITS or is_card(digits):
        return MASK
    return f"{sign}{MASK}{digits[-VISIBLE_DIGITS if len(digits) >= MIN_FULL_NUMBER_DIGITS else -2 :]}"


def _context_fields() -> dict[str, str]:
    current = _CONTEXT.get()
    return {name: value for name in _FIELDS if (value := getattr(current, name))} if current else {}


def _redact_for_context(text: str) -> str:
    current = _CONTEXT.get()
    return redact(text) if current is None or current.redacted else text


def _escape(text: str, keep: str = "") -> str:
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() or char in keep else _escape_char(char) for char in text)


def _escape_char(char: str) -> str:
    code = ord(char)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _format_error(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    return _redact_for_context(formatter.formatException(record.exc_info)) if record.exc_info else ""
