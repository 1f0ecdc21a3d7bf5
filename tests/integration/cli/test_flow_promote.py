"""`vocelio flow promote` shows the progress of pre-rendering and never fails because of it."""

import asyncio
import json
from contextlib import asynccontextmanager

import pytest
from typer.testing import CliRunner

from tests.support.api_client import ApiEnv, create_tenant
from tests.support.two_tenants import make_flow
from vocelio.gateway.cli.api_client import ApiClient
from vocelio.gateway.cli.flow import app, show_progress
from vocelio.gateway.server.server import serve_embedded
from vocelio.gateway.server.sockets import bind_socket
from vocelio.gateway.speech.interfaces import SpeechError
from vocelio.gateway.store.db.database import Database


@pytest.fixture
async def database(tmp_path):
    """A migrated SQLite database."""
    database = Database(f"sqlite+aiosqlite:///{tmp_path}/vocelio.db")
    await database.migrate()
    yield database
    await database.aclose()


@pytest.fixture
def flow_file(tmp_path):
    """The file of a flow."""
    path = tmp_path / "flows" / "desk.json"
    path.parent.mkdir()
    path.write_text(json.dumps(make_flow("Good day. Hello.")))
    return path


@asynccontextmanager
async def served_api(database, monkeypatch, *, renders=True, working=True):
    """Serve the API, with a key in the environment."""
    api = ApiEnv(database, renders=renders)
    monkeypatch.setenv("VOCELIO_KEY", (await create_tenant(api, "harbour")).key)
    monkeypatch.setenv("VOCELIO_SECRET_KEYS", "the-secret-key-of-the-tests")
    async with serve_embedded(api.app, bind_socket()) as api.origin:
        if working:
            await api.renderer.start()
        try:
            yield api
        finally:
            await api.renderer.aclose()


async def run_promote(api, file, *options):
    """Run the command; return its exit code and output."""
    arguments = ["promote", str(file), "--server", api.origin, *options]
    result = await asyncio.to_thread(CliRunner().invoke, app, arguments)
    return result.exit_code, result.output


async def test_command_waits_for_pre_rendering(database, monkeypatch, flow_file):
    async with served_api(database, monkeypatch) as api:
        code, printed = await run_promote(api, flow_file)
    assert (code, printed) == (0, "desk: version 1 is active\nall 8 prompts are rendered\n")


async def test_failed_prompt_is_a_warning(database, monkeypatch, flow_file):
    async with served_api(database, monkeypatch) as api:
        api.synthesizer.failing = {"Hello.": SpeechError("no such [voice]")}
        code, printed = await run_promote(api, flow_file)
    assert code == 0
    assert "7 of 8 prompts are rendered" in printed
    assert "warning: 'Hello.': no such [voice]" in printed


async def test_no_wait_returns_at_once(database, monkeypatch, flow_file):
    async with served_api(database, monkeypatch, working=False) as api:
        code, printed = await run_promote(api, flow_file, "--no-wait")
        assert (code, printed) == (0, "desk: version 1 is active\n")
        assert (await run_promote(api, flow_file, "--no-wait"))[0] == 0


@pytest.mark.parametrize("timeouts", [{"max_wait_seconds": 0.0}, {"stall_timeout_seconds": 0.0}])
async def test_waiting_is_bounded(database, monkeypatch, flow_file, capsys, timeouts):
    async with served_api(database, monkeypatch, working=False) as api:
        await run_promote(api, flow_file, "--no-wait")
        await asyncio.to_thread(show_progress, ApiClient(api.origin), "desk", **timeouts)
    assert "0 of 8 prompts are rendered; the others are synthesized during calls" in capsys.readouterr().out


async def test_gateway_without_pre_rendering_is_accepted(database, monkeypatch, flow_file):
    async with served_api(database, monkeypatch, renders=False, working=False) as api:
        assert await run_promote(api, flow_file) == (0, "desk: version 1 is active\n")


async def test_unreachable_gateway_is_reported(database, monkeypatch, capsys):
    async with served_api(database, monkeypatch, working=False) as api:
        origin = api.origin
    await asyncio.to_thread(show_progress, ApiClient(origin), "desk")
    assert "could not get the progress of pre-rendering: no response from" in capsys.readouterr().out
