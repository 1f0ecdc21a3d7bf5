"""Periodic task: repetition after failures, log context, shutdown."""

import asyncio
import json

import pytest

from vocelio.gateway import logs
from vocelio.gateway.aio.tasks import PeriodicTask
from vocelio.gateway.errors import DatabaseUnavailable


@pytest.mark.parametrize("error", [DatabaseUnavailable(), ZeroDivisionError()])
async def test_failed_run_is_repeated_until_aclose(error):
    runs, third = [], asyncio.Event()

    async def work():
        runs.append(len(runs))
        if len(runs) == 3:
            third.set()
        raise error

    periodic = PeriodicTask("work", 0.001, work)
    await periodic.start()
    async with asyncio.timeout(5):
        await third.wait()
    await periodic.aclose()
    done = len(runs)
    await asyncio.sleep(0.01)
    assert len(runs) == done >= 3
    assert "work" not in {task.get_name() for task in asyncio.all_tasks()}


async def test_periodic_task_logs_without_context(caplog):
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


async def test_aclose_without_start_does_nothing():
    await PeriodicTask("work", 1.0, asyncio.Event().wait).aclose()
