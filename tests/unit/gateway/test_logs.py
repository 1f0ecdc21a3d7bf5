"""The log: what a line has, that nothing confidential is in it, and that libraries go the same way."""

import asyncio
import contextvars
import io
import json
import logging

import pytest

from vocelio.gateway import logs
from vocelio.gateway.server.server import config, loop_factory

LOG = logging.getLogger("vocelio.gateway.test")


class Terminal(io.StringIO):
    """Somebody looks at it."""

    def isatty(self):
        return True


@pytest.fixture
def lines():
    """Everything that is logged, decoded, as ``begin`` sets it up."""
    yield from _logging_to(io.StringIO(), lambda text: list(map(json.loads, text.splitlines())))


@pytest.fixture
def terminal():
    """The same on a terminal, as it is."""
    yield from _logging_to(Terminal(), str.splitlines)


def _logging_to(stream, decoded):
    root = logging.getLogger()
    before = root.handlers[:], root.level
    logs.begin(stream)
    yield lambda: decoded(stream.getvalue())
    root.handlers[:], root.level = before


def apart(work):
    """Run it in a context of its own, as a task would."""
    return contextvars.copy_context().run(work)


def test_a_line(lines):
    LOG.warning("calls of %s get the apology", "+13072249663")
    (line,) = lines()
    assert line.pop("time").endswith("+00:00")
    assert line.pop("process") > 0
    assert line == {"level": "warning", "logger": LOG.name, "message": "calls of +***9663 get the apology"}


def test_an_error_is_redacted_too(lines):
    try:
        raise ValueError("jane@example.com has 4111 1111 1111 1111")
    except ValueError:
        LOG.exception("it failed")
    (line,) = lines()
    assert line["message"] == "it failed"
    assert line["error"].endswith("ValueError: *** has ***")


async def test_what_a_task_finds_out_all_of_its_tasks_log(lines):
    async def deeper():
        logs.about(tenant="harbour")
        LOG.info("deeper")

    async def work():
        logs.about(call="CA1")
        LOG.info("begun")
        await asyncio.create_task(deeper())
        LOG.info("done")

    await asyncio.gather(asyncio.create_task(work()), asyncio.create_task(deeper()))
    LOG.info("outside")
    found = {(line["message"], line.get("call"), line.get("tenant")) for line in lines()}
    assert found == {
        ("begun", "CA1", None),
        ("deeper", "CA1", "harbour"),
        ("deeper", None, "harbour"),
        ("done", "CA1", "harbour"),
        ("outside", None, None),
    }


def test_a_tenant_can_have_it_in_full(lines):
    def work():
        logs.about(tenant="harbour", redacted=False)
        LOG.info("rings %s", "+13072249663")
        logs.about(call="CA1")
        LOG.info("rings %s", "+13072249663")

    apart(work)
    LOG.info("rings %s", "+13072249663")
    assert [line["message"] for line in lines()] == ["rings +13072249663"] * 2 + ["rings +***9663"]


def test_on_a_terminal_it_is_for_people(terminal):
    def work():
        logs.about(call="CA1", request="this-one")
        LOG.warning("rings %s", "+13072249663")

    apart(work)
    (line,) = terminal()
    assert line.partition(" ")[2] == "WARNING test: rings +***9663 call=CA1 request=this-one"


def test_libraries_go_the_same_way(lines):
    assert loop_factory()
    assert config(lambda: None)
    logging.getLogger("uvicorn.error").error("Invalid HTTP request of +13072249663 received.")
    assert lines()[-1]["message"] == "Invalid HTTP request of +***9663 received."
