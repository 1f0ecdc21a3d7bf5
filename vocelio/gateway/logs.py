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
class About:
    """Shared by all tasks that work on the same: what one finds out, the others log, too."""

    call: str = ""
    tenant: str = ""
    request: str = ""
    redacted: bool = True


_FIELDS = ("call", "tenant", "request")
_ABOUT: contextvars.ContextVar[About | None] = contextvars.ContextVar("about", default=None)


def about(*, call: str = "", tenant: str = "", request: str = "", redacted: bool | None = None) -> None:
    """What this task works on; what is left out stays as it is. ``redacted`` is the tenant's setting."""
    current = _ABOUT.get()
    if current is None:
        current = About()
        _ABOUT.set(current)
    current.call = call or current.call
    current.tenant = tenant or current.tenant
    current.request = request or current.request
    current.redacted = current.redacted if redacted is None else redacted


def whose() -> About | None:
    """What this task works on: for ``on_behalf`` of whoever does part of it later."""
    return _ABOUT.get()


@contextmanager
def on_behalf(of: About | None) -> Iterator[None]:
    """Log as that task does, from which ``of`` is."""
    before = _ABOUT.set(of)
    try:
        yield
    finally:
        _ABOUT.reset(before)


def begin(stream: TextIO | None = None) -> None:
    """Log from now on to standard error, or another stream; libraries, too."""
    where: TextIO = sys.stderr if stream is None else stream
    handler = logging.StreamHandler(where)
    handler.setFormatter(ForPeople() if where.isatty() else AsJson())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)


class AsJson(logging.Formatter):
    """A line of JSON: time, level, logger, process, message; call, tenant, request and error where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        """See logging."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "process": os.getpid(),
            "message": _safe(record.getMessage()),
            **_known(),
        }
        if error := _error(self, record):
            line["error"] = error
        return json.dumps(line, ensure_ascii=False)


class ForPeople(logging.Formatter):
    """A line to read, with the traceback of an error behind it."""

    def format(self, record: logging.LogRecord) -> str:
        """See logging."""
        at = datetime.fromtimestamp(record.created, UTC).astimezone().strftime("%H:%M:%S.%f")[:-3]
        known = "".join(f" {name}={value}" for name, value in _known().items())
        line = f"{at} {record.levelname:<7} {record.name.rpartition('.')[2]}: {_safe(record.getMessage())}{known}"
        error = _error(self, record)
        return f"{line}\n{error}" if error else line


def _known() -> dict[str, str]:
    current = _ABOUT.get()
    return {name: value for name in _FIELDS if (value := getattr(current, name))} if current else {}


def _safe(text: str) -> str:
    current = _ABOUT.get()
    return redact(text) if current is None or current.redacted else text


def _error(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    return _safe(formatter.formatException(record.exc_info)) if record.exc_info else ""
