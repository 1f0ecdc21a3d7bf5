"""`vocelio serve` as a single process."""

import asyncio
import json
import signal
from contextlib import asynccontextmanager

import aiohttp
import pytest

from tests.support.command_runner import run_vocelio, running_vocelio, wait_until_listening
from tests.support.free_ports import free_ports
from vocelio.gateway.clock import wall_clock
from vocelio.gateway.store import api_keys
from vocelio.gateway.store.db.database import Database


@asynccontextmanager
async def running_serve(folder, port, **settings):
    """Run the process; yields once it uses its database: by then it handles signals."""
    async with running_vocelio("serve", "--port", str(port), cwd=folder, environment=settings) as process:
        async with asyncio.timeout(60):
            assert b"listening" in await process.out.readline()
            while not _wal_file(folder).exists():  # noqa: ASYNC110 (another process)
                await asyncio.sleep(0.02)
        yield process


def _wal_file(folder):
    """SQLite removes it when the last connection is closed."""
    return folder / ".vocelio" / "vocelio.db-wal"


@pytest.mark.parametrize("stop_signal", [signal.SIGTERM, signal.SIGINT])
async def test_signal_closes_the_database(tmp_path, stop_signal):
    async with running_serve(tmp_path, 0) as process:
        process.send_signal(stop_signal)
        async with asyncio.timeout(10):
            log = await process.err.read()
            await process.wait()
    assert not _wal_file(tmp_path).exists()
    assert b"Traceback" not in log


async def test_start_on_a_fresh_database_logs_nothing_of_libraries_at_info(tmp_path):
    async with running_serve(tmp_path, 0) as process:
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(10):
            log = (await process.err.read()).decode()
            await process.wait()
    entries = [json.loads(line) for line in log.splitlines()]
    assert [entry for entry in entries if entry["level"] == "info" and "vocelio" not in entry["logger"]] == []


@pytest.mark.parametrize("options", [(), ("--workers", "2"), ("--site", "nowhere")])
async def test_real_account_without_https_is_refused_in_one_line(tmp_path, options):
    account = {"TWILIO_ACCOUNT_SID": "AC" + "a1" * 16, "TWILIO_AUTH_TOKEN": "hush", "COLUMNS": "400"}
    code, out, error = await run_vocelio("serve", *options, cwd=tmp_path, environment=account)
    assert (code, out, error.count("\n")) == (2, "", 1)
    assert "VOCELIO_PUBLIC_URL must be the https origin" in error
    assert "hush" not in error


async def test_ticket_is_accepted_for_any_spelling_of_the_public_url(tmp_path):
    (port,) = free_ports()
    async with running_serve(tmp_path, port, VOCELIO_PUBLIC_URL="https://Voice.Example:443"):
        await wait_until_listening(port)
        database = Database(f"sqlite+aiosqlite:///{tmp_path}/.vocelio/vocelio.db")
        key = await api_keys.create_platform_key(database, "tests", wall_clock())
        await database.aclose()
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
            headers = {"Authorization": f"Bearer {key}"}
            async with session.post("/v1/events/tickets", headers=headers) as answer:
                ticket = (await answer.json())["ticket"]
            query, headers = {"ticket": ticket}, {"Origin": "https://voice.example"}
            async with session.ws_connect("/v1/events", params=query, headers=headers) as feed:
                assert (await feed.receive_json())["message"] == "snapshot"
