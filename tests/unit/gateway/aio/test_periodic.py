"""Work that is done again and again, whatever becomes of one turn."""

import asyncio
import json

import pytest

from vocelio.gateway import logs
from vocelio.gateway.aio.tasks import PeriodicTask
from vocelio.gateway.errors import DatabaseUnavailable


@pytest.mark.parametrize("trouble", [DatabaseUnavailable(), ZeroDivisionError()])
async def test_what_fails_is_tried_again_until_the_end(trouble):
    turns, third = [], asyncio.Event()

    async def work():
        turns.append(len(turns))
        if len(turns) == 3:
            third.set()
        raise trouble

    periodic = PeriodicTask("work", 0.001, work)
    await periodic.start()
    async with asyncio.timeout(5):
        await third.wait()
    await periodic.aclose()
    done = len(turns)
    await asyncio.sleep(0.01)
    assert len(turns) == done >= 3
    assert "work" not in {task.get_name() for task in asyncio.all_tasks()}


async def test_it_logs_on_behalf_of_nobody(caplog):
    caplog.handler.setFormatter(logs.JsonFormatter())
    done = asyncio.Event()

    async def work():
        done.set()
        raise ZeroDivisionError

    logs.bind(call="CA1", tenant="harbour")
    periodic = PeriodicTask("work", 60.0, work)
    await periodic.start()
    await done.wait()
    await asyncio.sleep(0)
    await periodic.aclose()
    (line,) = map(json.loads, caplog.text.splitlines())
    assert (line["message"], line.get("call"), line.get("tenant")) == ("work failed; next attempt in 60 s", None, None)


async def test_one_that_never_began_ends_as_well():
    await PeriodicTask("work", 1.0, asyncio.Event().wait).aclose()
