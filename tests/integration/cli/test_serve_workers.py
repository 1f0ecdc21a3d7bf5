"""`vocelio serve --workers`: real processes on one port with one PostgreSQL."""

import asyncio
import contextlib
import os
import signal

import aiohttp
import pytest

from tests.support.command_runner import run_vocelio, running_vocelio
from tests.support.resource_checks import process_exists
from tests.support.running_gateway import ACCOUNT, PUBLIC_URL, TOKEN

REDIS_URL = "redis://127.0.0.1:1/0"  # not reachable: calls are served nevertheless
SERVE = ("serve", "--workers", "2")


def environment(url, **more):
    return {
        "VOCELIO_DATABASE_URL": url,
        "VOCELIO_REDIS_URL": REDIS_URL,
        "VOCELIO_SECRET_KEYS": "a-secret-of-the-processes",
        "TWILIO_ACCOUNT_SID": ACCOUNT,
        "TWILIO_AUTH_TOKEN": TOKEN,
        "VOCELIO_PUBLIC_URL": PUBLIC_URL,
        "COLUMNS": "200",
        **more,
    }


async def failed_start(cwd, settings, *options):
    """Run the command; return its exit code and error output."""
    code, _, error = await run_vocelio(*SERVE, *options, cwd=cwd, environment=settings)
    return code, error


@contextlib.asynccontextmanager
async def running_workers(cwd, settings):
    """Run two workers; yields the supervisor, its origin and the process ids of the workers."""
    async with running_vocelio(*SERVE, "--port", "0", cwd=cwd, environment=settings) as parent:
        async with asyncio.timeout(60):
            origin = (await parent.out.readline()).decode().split()[2].rstrip(",")
            pids = [await parent.next_worker_pid(), await parent.next_worker_pid()]
        yield parent, origin, pids


async def statuses(origin, path, times):
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as session:
        result = []
        for _ in range(times):
            async with session.get(origin + path) as answer:
                result.append(answer.status)
        return result


@pytest.mark.parametrize(
    ("settings", "missing"),
    [
        ({"VOCELIO_DATABASE_URL": "sqlite+aiosqlite:///vocelio.db"}, "VOCELIO_DATABASE_URL"),
        ({"VOCELIO_REDIS_URL": ""}, "VOCELIO_REDIS_URL"),
    ],
)
async def test_workers_require_shared_backends(tmp_path, settings, missing):
    code, error = await failed_start(tmp_path, environment("postgresql+asyncpg://localhost/nothing", **settings))
    assert code == 2
    assert f"--workers needs {'a shared database' if 'DATABASE' in missing else missing}" in error
    assert missing in error
    assert "Traceback" not in error


async def test_crashed_worker_is_restarted(tmp_path, postgres):
    """A second gateway fails to start, since the port is in use."""
    async with (
        postgres.temporary_database() as url,
        running_workers(tmp_path, environment(url)) as (parent, origin, pids),
    ):
        port = origin.rpartition(":")[2]
        code, error = await failed_start(tmp_path, environment(url), "--port", port)
        assert code == 2
        assert "cannot listen on" in error
        assert f"port {port}:" in error
        assert set(await statuses(origin, "/readyz", 20)) == {200}
        os.kill(pids[0], signal.SIGKILL)
        await asyncio.sleep(0.1)
        assert set(await statuses(origin, "/readyz", 20)) == {200}, "the other worker serves all requests"
        assert await parent.next_worker_pid() not in pids
        parent.send_signal(signal.SIGTERM)
        assert await parent.wait() == 0
        with pytest.raises(aiohttp.ClientConnectionError):
            await statuses(origin, "/readyz", 1)


async def test_sigint_stops_all_processes(tmp_path, postgres):
    async with postgres.temporary_database() as url, running_workers(tmp_path, environment(url)) as (parent, _, pids):
        parent.send_signal(signal.SIGINT)
        assert await parent.wait() == 0
        assert not any(map(process_exists, pids))
