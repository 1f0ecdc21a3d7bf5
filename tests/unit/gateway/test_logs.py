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
