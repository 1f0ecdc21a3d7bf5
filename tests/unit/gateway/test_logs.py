"""The log: what a line has, that nothing confidential is in it, and that libraries go the same way."""

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
    """Somebody looks at it."""

    def isatty(self):
        return True


@pytest.fixture
def log_lines():
    """Everything that is logged, decoded, as ``begin`` sets it up."""
    yield from _capture_logs(io.StringIO(), lambda text: list(map(json.loads, text.splitlines())))


@pytest.fixture
def terminal_output():
    """The same on a terminal, as it is."""
    yield from _capture_logs(FakeTerminal(), str.splitlines)


def _capture_logs(stream, decoded):
    root = logging.getLogger()
    before = root.handlers[:], root.level
    logs.configure(stream)
    yield lambda: decoded(stream.getvalue())
    root.handlers[:], root.level = before


def run_in_context(work):
    """Run it in a context of its own, as a task would."""
    return contextvars.copy_context().run(work)


def test_a_line(log_lines):
    LOGGER.warning("calls of %s get the apology", "+13072249663")
    (line,) = log_lines()
    assert line.pop("time").endswith("+00:00")
    assert line.pop("process") > 0
    assert line == {"level": "warning", "logger": LOGGER.name, "message": "calls of +***9663 get the apology"}


def test_an_error_is_redacted_too(log_lines):
    try:
        raise ValueError("jane@example.com has 4111 1111 1111 1111")
    except ValueError:
        LOGGER.exception("it failed")
    (line,) = log_lines()
    assert line["message"] == "it failed"
    assert line["error"].endswith("ValueError: *** has ***")


async def test_what_a_task_finds_out_all_of_its_tasks_log(log_lines):
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
    found = {(line["message"], line.get("call"), line.get("tenant")) for line in log_lines()}
    assert found == {
        ("begun", "CA1", None),
        ("deeper", "CA1", "harbour"),
        ("deeper", None, "harbour"),
        ("done", "CA1", "harbour"),
        ("outside", None, None),
    }


def test_a_tenant_can_have_it_in_full(log_lines):
    def work():
        logs.bind(tenant="harbour", redacted=False)
        LOGGER.info("rings %s", "+13072249663")
        logs.bind(call="CA1")
        LOGGER.info("rings %s", "+13072249663")

    run_in_context(work)
    LOGGER.info("rings %s", "+13072249663")
    assert [line["message"] for line in log_lines()] == ["rings +13072249663"] * 2 + ["rings +***9663"]


def test_on_a_terminal_it_is_for_people(terminal_output):
    def work():
        logs.bind(call="CA1", request_id="this-one")
        LOGGER.warning("rings %s", "+13072249663")

    run_in_context(work)
    (line,) = terminal_output()
    assert line.partition(" ")[2] == "WARNING test: rings +***9663 call=CA1 request_id=this-one"


def test_libraries_go_the_same_way(log_lines):
    assert loop_factory()
    assert uvicorn_config(lambda: None)
    logging.getLogger("uvicorn.error").error("Invalid HTTP request of +13072249663 received.")
    assert log_lines()[-1]["message"] == "Invalid HTTP request of +***9663 received."
