"""`vocelio serve --workers`, as it is: real processes on one port and one PostgreSQL."""

import asyncio
import contextlib
import json
import os
import signal
from pathlib import Path

import aiohttp
import pytest

from tests.support.command_runner import run_vocelio, running_vocelio
from tests.support.running_gateway import ACCOUNT, TOKEN

REDIS_URL = "redis://127.0.0.1:1/0"  # nobody listens there: calls are served all the same
SERVE = ("serve", "--workers", "2")


def environment(url, **more):
    return {
        "VOCELIO_DATABASE_URL": url,
        "VOCELIO_REDIS_URL": REDIS_URL,
        "VOCELIO_SECRET_KEYS": "a-secret-of-the-processes",
        "TWILIO_ACCOUNT_SID": ACCOUNT,
        "TWILIO_AUTH_TOKEN": TOKEN,
        "COLUMNS": "200",
        **more,
    }


async def failed_start(cwd, settings, *options):
    """The exit code and what it complained of."""
    code, _, complaint = await run_vocelio(*SERVE, *options, cwd=cwd, environment=settings)
    return code, complaint


@contextlib.asynccontextmanager
async def running_workers(cwd, settings):
    """Two processes that serve: the parent, its origin, and their process ids."""
    async with running_vocelio(*SERVE, "--port", "0", cwd=cwd, environment=settings) as parent:
        async with asyncio.timeout(60):
            origin = (await parent.out.readline()).decode().split()[2].rstrip(",")
            pids = [await next_worker_pid(parent), await next_worker_pid(parent)]
        yield parent, origin, pids


async def next_worker_pid(parent):
    """The process id of the next worker that says that it serves."""
    told = []
    while line := (await parent.err.readline()).decode():
        told.append(line)
        message = json.loads(line)["message"]
        if message.endswith("serves"):
            return int(message.split()[1])
    raise AssertionError(f"the parent has ended: {told}")


async def statuses(origin, path, times):
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as session:
        found = []
        for _ in range(times):
            async with session.get(origin + path) as answer:
                found.append(answer.status)
        return found


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"VOCELIO_DATABASE_URL": "sqlite+aiosqlite:///vocelio.db"}, "VOCELIO_DATABASE_URL"),
        ({"VOCELIO_REDIS_URL": ""}, "VOCELIO_REDIS_URL"),
    ],
)
async def test_several_processes_need_what_they_can_share(tmp_path, settings, says):
    code, complaint = await failed_start(tmp_path, environment("postgresql+asyncpg://localhost/nothing", **settings))
    assert code == 2
    assert f"--workers needs {'a shared database' if 'DATABASE' in says else says}" in complaint
    assert says in complaint
    assert "Traceback" not in complaint


async def test_two_serve_one_port_and_who_dies_is_replaced(tmp_path, postgres):
    """And another gateway is told that the port is taken."""
    async with (
        postgres.temporary_database() as url,
        running_workers(tmp_path, environment(url)) as (parent, origin, pids),
    ):
        port = origin.rpartition(":")[2]
        code, complaint = await failed_start(tmp_path, environment(url), "--port", port)
        assert code == 2
        assert f"port {port} cannot be listened on" in complaint
        assert set(await statuses(origin, "/readyz", 20)) == {200}
        os.kill(pids[0], signal.SIGKILL)
        await asyncio.sleep(0.1)
        assert set(await statuses(origin, "/readyz", 20)) == {200}, "the other has all"
        assert await next_worker_pid(parent) not in pids
        parent.send_signal(signal.SIGTERM)
        assert await parent.wait() == 0
        with pytest.raises(aiohttp.ClientConnectionError):
            await statuses(origin, "/readyz", 1)


async def test_control_c_ends_all(tmp_path, postgres):
    async with postgres.temporary_database() as url, running_workers(tmp_path, environment(url)) as (parent, _, pids):
        parent.send_signal(signal.SIGINT)
        assert await parent.wait() == 0
        assert not any(map(_process_exists, pids))


def _process_exists(pid):
    return Path(f"/proc/{pid}").exists()
