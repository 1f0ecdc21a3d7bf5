"""What this process logs: one JSON object a line, or on a terminal a line for people; in both, nothing confidential.

Whoever begins to work on a call or a request says so by ``about``; everything that is logged from then on, in that task
and those that it starts, names it. Every text is redacted as it is written, so that no statement can forget it; only a
tenant's own setting turns that off. Utterances, prompts and keys are never logged: those are events.
"""

import contextvars
import json
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TextIO

from vocelio.gateway.redaction import redact


@dataclass(slots=True)
class LogContext:
    """Shared by all tasks that work on the same: what one finds out, the others log, too."""

    call: str = ""
    tenant: str = ""
    request: str = ""
    redacted: bool = True


_FIELDS = ("call", "tenant", "request")
_CONTEXT: contextvars.ContextVar[LogContext | None] = contextvars.ContextVar("about", default=None)


def bind(*, call: str = "", tenant: str = "", request: str = "", redacted: bool | None = None) -> None:
    """What this task works on; what is left out stays as it is. ``redacted`` is the tenant's setting."""
    current = _CONTEXT.get()
    if current is None:
        current = LogContext()
        _CONTEXT.set(current)
    current.call = call or current.call
    current.tenant = tenant or current.tenant
    current.request = request or current.request
    current.redacted = current.redacted if redacted is None else redacted


def current_context() -> LogContext | None:
    """What this task works on: for ``on_behalf`` of whoever does part of it later."""
    return _CONTEXT.get()


@contextmanager
def use_context(context: LogContext | None) -> Iterator[None]:
    """Log as that task does, from which ``of`` is."""
    before = _CONTEXT.set(context)
    try:
        yield
    finally:
        _CONTEXT.reset(before)


def configure(stream: TextIO | None = None) -> None:
    """Log from now on to standard error, or another stream; libraries, too."""
    where: TextIO = sys.stderr if stream is None else stream
    handler = logging.StreamHandler(where)
    handler.setFormatter(ConsoleFormatter() if where.isatty() else JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)


class JsonFormatter(logging.Formatter):
    """A line of JSON: time, level, logger, process, message; call, tenant, request and error where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        """See logging."""
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
    """A line to read, with the traceback of an error behind it."""

    def format(self, record: logging.LogRecord) -> str:
        """See logging."""
        at = datetime.fromtimestamp(record.created, UTC).astimezone().strftime("%H:%M:%S.%f")[:-3]
        known = "".join(f" {name}={value}" for name, value in _context_fields().items())
        name, message = record.name.rpartition(".")[2], _redact_for_context(record.getMessage())
        line = f"{at} {record.levelname:<7} {name}: {message}{known}"
        error = _format_error(self, record)
        return f"{line}\n{error}" if error else line


def _context_fields() -> dict[str, str]:
    current = _CONTEXT.get()
    return {name: value for name in _FIELDS if (value := getattr(current, name))} if current else {}


def _redact_for_context(text: str) -> str:
    current = _CONTEXT.get()
    return redact(text) if current is None or current.redacted else text


def _format_error(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    return _redact_for_context(formatter.formatException(record.exc_info)) if record.exc_info else ""
