"""`vocelio flow promote` shows how the prompts are rendered, and never fails for what is not."""

import asyncio
import json
from contextlib import asynccontextmanager

import pytest
from typer.testing import CliRunner

from tests.support.api_client import ApiEnv, create_tenant
from tests.support.two_tenants import make_flow
from vocelio.gateway.cli.api_client import ApiClient as ServersApi
from vocelio.gateway.cli.flow import app, show_progress
from vocelio.gateway.server.server import bind_socket, serve_embedded
from vocelio.gateway.speech.interfaces import SpeechError
from vocelio.gateway.store.db.database import Database


@pytest.fixture
async def database(tmp_path):
    """A SQLite database, with its tables."""
    database = Database(f"sqlite+aiosqlite:///{tmp_path}/vocelio.db")
    await database.migrate()
    yield database
    await database.aclose()


@pytest.fixture
def flow_file(tmp_path):
    """A flow's file."""
    path = tmp_path / "flows" / "desk.json"
    path.parent.mkdir()
    path.write_text(json.dumps(make_flow("Good day. Hello.")))
    return path


@asynccontextmanager
async def served_api(database, monkeypatch, *, renders=True, working=True):
    """The API on a real server, with a key in the environment."""
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
    """Run the command: its exit code and what it printed."""
    arguments = ["promote", str(file), "--server", api.origin, *options]
    result = await asyncio.to_thread(CliRunner().invoke, app, arguments)
    return result.exit_code, result.output


async def test_what_was_promoted_is_rendered_while_the_command_waits(database, monkeypatch, flow_file):
    async with served_api(database, monkeypatch) as api:
        code, printed = await run_promote(api, flow_file)
    assert (code, printed) == (0, "desk: version 1 is active\nall 8 prompts are rendered\n")


async def test_a_failure_is_a_warning(database, monkeypatch, flow_file):
    async with served_api(database, monkeypatch) as api:
        api.synthesizer.failing = {"Hello.": SpeechError("no such [voice]")}
        code, printed = await run_promote(api, flow_file)
    assert code == 0
    assert "7 of 8 prompts are rendered" in printed
    assert "warning: 'Hello.': no such [voice]" in printed


async def test_nobody_has_to_wait(database, monkeypatch, flow_file):
    async with served_api(database, monkeypatch, working=False) as api:
        code, printed = await run_promote(api, flow_file, "--no-wait")
        assert (code, printed) == (0, "desk: version 1 is active\n")
        assert (await run_promote(api, flow_file, "--no-wait"))[0] == 0


@pytest.mark.parametrize("patience", [{"max_wait_seconds": 0.0}, {"stall_timeout_seconds": 0.0}])
async def test_nobody_waits_for_ever(database, monkeypatch, flow_file, capsys, patience):
    async with served_api(database, monkeypatch, working=False) as api:
        await run_promote(api, flow_file, "--no-wait")
        await asyncio.to_thread(show_progress, ServersApi(api.origin), "desk", **patience)
    assert "0 of 8 prompts are rendered; the others are synthesized during calls" in capsys.readouterr().out


async def test_a_gateway_that_renders_nothing_is_fine(database, monkeypatch, flow_file):
    async with served_api(database, monkeypatch, renders=False, working=False) as api:
        assert await run_promote(api, flow_file) == (0, "desk: version 1 is active\n")


async def test_a_gateway_that_is_gone_when_it_is_asked_is_told_of(database, monkeypatch, capsys):
    async with served_api(database, monkeypatch, working=False) as api:
        origin = api.origin
    await asyncio.to_thread(show_progress, ServersApi(origin), "desk")
    assert "could not get the progress of pre-rendering: no response from" in capsys.readouterr().out
