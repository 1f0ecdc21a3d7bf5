"""Logging: the fields of a line, redaction, contexts, and logs of libraries."""

import asyncio
import contextvars
import io
import json
import logging

import pytest

from vocelio.gateway import logs
from vocelio.gateway.server.server import loop_factory, uvicorn_config

LOGGER = logging.getLogger("vocelio.gateway.test")


class FakeTerminal(io.StringIO):
    """A stream that is a terminal."""

    def isatty(self):
        return True


@pytest.fixture
def log_lines():
    """Return a function that returns all JSON lines logged so far, decoded."""
    yield from _capture_logs(io.StringIO(), lambda text: list(map(json.loads, text.splitlines())))


@pytest.fixture
def terminal_output():
    """Return a function that returns all lines logged to a terminal so far."""
    yield from _capture_logs(FakeTerminal(), str.splitlines)


def _capture_logs(stream, decoded):
    root = logging.getLogger()
    before = root.handlers[:], root.level
    logs.configure(stream)
    yield lambda: decoded(stream.getvalue())
    root.handlers[:], root.level = before


def run_in_context(work):
    """Run ``work`` in a context of its own, as a task would."""
    return contextvars.copy_context().run(work)


def test_json_line_has_all_fields(log_lines):
    LOGGER.warning("calls of %s get the apology", "+13072249663")
    (line,) = log_lines()
    assert line.pop("time").endswith("+00:00")
    assert line.pop("process") > 0
    assert line == {"level": "warning", "logger": LOGGER.name, "message": "calls of +***9663 get the apology"}


def test_traceback_is_redacted(log_lines):
    try:
        raise ValueError("jane@example.com has 4111 1111 1111 1111")
    except ValueError:
        LOGGER.exception("it failed")
    (line,) = log_lines()
    assert line["message"] == "it failed"
    assert line["error"].endswith("ValueError: *** has ***")


async def test_context_is_shared_by_a_task_and_its_subtasks(log_lines):
    async def deeper():
        logs.bind(tenant="harbour")
        LOGGER.info("deeper")

    async def work():
        logs.bind(call="CA1")
        LOGGER.info("begun")
        await asyncio.create_task(deeper())
        LOGGER.info("done")

    await asyncio.gather(asyncio.create_task(work()), asyncio.create_task(deeper()))
    LOGGER.info("outside")
    result = {(line["message"], line.get("call"), line.get("tenant")) for line in log_lines()}
    assert result == {
        ("begun", "CA1", None),
        ("deeper", "CA1", "harbour"),
        ("deeper", None, "harbour"),
        ("done", "CA1", "harbour"),
        ("outside", None, None),
    }


def test_redaction_can_be_turned_off_for_a_tenant(log_lines):
    def work():
        logs.bind(tenant="harbour", redacted=False)
        LOGGER.info("rings %s", "+13072249663")
        logs.bind(call="CA1")
        LOGGER.info("rings %s", "+13072249663")

    run_in_context(work)
    LOGGER.info("rings %s", "+13072249663")
    assert [line["message"] for line in log_lines()] == ["rings +13072249663"] * 2 + ["rings +***9663"]


def test_console_line_is_readable(terminal_output):
    def work():
        logs.bind(call="CA1", request_id="this-one")
        LOGGER.warning("rings %s", "+13072249663")

    run_in_context(work)
    (line,) = terminal_output()
    assert line.partition(" ")[2] == "WARNING test: rings +***9663 call=CA1 request_id=this-one"


def test_library_logs_have_the_same_format(log_lines):
    assert loop_factory()
    assert uvicorn_config(lambda: None)
    logging.getLogger("uvicorn.error").error("Invalid HTTP request of +13072249663 received.")
    assert log_lines()[-1]["message"] == "Invalid HTTP request of +***9663 received."


def test_log_rate_counts_what_it_omits():
    now = 0.0
    rate = logs.LogRate(2, lambda: now)
    assert [rate.admit() for _ in range(5)] == ["", "", None, None, None]
    now = 59.0
    assert rate.admit() is None
    now = 60.0
    assert [rate.admit(), rate.admit(), rate.admit()] == [" (4 more of these were not logged)", "", None]


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("\x1b]0;owned\x07", r"\x1b]0;owned\x07"),
        ("a\r\nERROR gateway: forged", r"a\x0d\x0aERROR gateway: forged"),
        ("\x9b31m \u202e \U000e0041", r"\x9b31m \u202e \U000e0041"),
        ("Grüße, 你好 🙂", "Grüße, 你好 🙂"),
    ],
)
def test_console_line_has_printable_characters_only(terminal_output, written, shown):
    LOGGER.warning("GET %s", written)
    (line,) = terminal_output()
    assert line.endswith(f"GET {shown}")


def test_traceback_on_a_terminal_keeps_its_lines(terminal_output):
    try:
        raise ValueError("\x1b[2J")
    except ValueError:
        LOGGER.exception("failed")
    assert len(terminal_output()) > 3
    assert terminal_output()[-1] == r"ValueError: \x1b[2J"


def rate_limited_lines(count, name=LOGGER.name, extra=None, message="GET %s: refused"):
    """Filter that many lines, all within one interval and then one more; return those that are logged."""
    now = 0.0
    limit = logs.RateLimitFilter(lambda: now)
    records = [logging.LogRecord(name, logging.WARNING, "", 1, message, (number,), None) for number in range(count + 1)]
    for record in records:
        record.__dict__.update(extra or {})
    shown = [record for record in records[:-1] if limit.filter(record)]
    now = 60.0
    return [record.getMessage() for record in [*shown, *filter(limit.filter, records[-1:])]]


@pytest.mark.parametrize("kind", [{"extra": logs.RATE_LIMITED}, {"name": "uvicorn.error"}])
def test_lines_of_unauthenticated_peers_have_a_rate_limit(kind):
    lines = rate_limited_lines(1_000, **kind)
    assert len(lines) == logs.MAX_LINES_PER_MINUTE + 1
    assert lines[-1] == f"GET 1000: refused ({1_000 - logs.MAX_LINES_PER_MINUTE} more of these were not logged)"


def test_other_lines_have_no_rate_limit():
    assert len(rate_limited_lines(1_000)) == 1_001


def test_rate_limit_is_for_each_kind_of_line():
    limit = logs.RateLimitFilter(lambda: 0.0)
    for number in range(3 * logs.MAX_LINES_PER_MINUTE):
        limit.filter(logging.makeLogRecord({"name": "a", "msg": "noise %d", "args": (number,), **logs.RATE_LIMITED}))
    assert limit.filter(logging.makeLogRecord({"name": "a", "msg": "refused", **logs.RATE_LIMITED}))
