"""The command line, as documented in the README."""

import asyncio
import json
import signal

import aiohttp
import pytest

from tests.support.command_runner import (
    COMMAND_TIMEOUT_SECONDS,
    ROOT,
    SCRIPT,
    command_environment,
    run_vocelio,
    wait_until_listening,
)
from tests.support.free_ports import free_ports
from tests.support.running_gateway import NUMBER


async def run_script(*arguments, cwd=ROOT):
    """Run a command through the console script; return exit code, output and errors."""
    process = await asyncio.create_subprocess_exec(
        *(str(SCRIPT), *arguments),
        cwd=cwd,
        env=command_environment({}),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), COMMAND_TIMEOUT_SECONDS)
    return process.returncode, out.decode(), err.decode()


async def test_demo_prints_its_json_contract(tmp_path):
    code, out, err = await run_script("demo", "--json", "--wav", str(tmp_path / "call.wav"), cwd=tmp_path)
    assert (code, err) == (0, "")
    summary = json.loads(out.splitlines()[-1])
    assert (summary["outcome"], summary["department"], summary["cost"]) == ("transferred", "sales", 0)
    assert "sales" in " ".join(summary["heard"])
    (turn,) = summary["turns"]
    assert -1_000 < turn["latency_ms"] < 5_000  # negative: the reply began before the last word ended
    assert 5 < summary["seconds"] < 60
    assert (tmp_path / "call.wav").stat().st_size > 100_000


async def test_demo_prints_the_conversation_and_its_summary(tmp_path):
    code, out, err = await run_script("demo", cwd=tmp_path)
    assert (code, err) == (0, "")
    positions = [
        out.index(text) for text in ("Thank you for calling", "sales please", "to sales", "ended: transferred")
    ]
    assert positions == sorted(positions)
    assert "outcome transferred to sales" in out
    assert "at the local tier: $0.0000" in out


async def test_serve_call_replay_and_promote(tmp_path):
    (port,) = free_ports()
    environment = {"PORT": str(port)}
    server = await asyncio.create_subprocess_exec(
        *(str(SCRIPT), "serve", "--site", str(ROOT / "examples" / "site")),
        cwd=tmp_path,
        env=command_environment(environment),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )

    async def run(*arguments):
        code, out, err = await run_vocelio(*arguments, cwd=tmp_path, environment=environment)
        assert (code, err) == (0, ""), out
        return out

    try:
        await wait_until_listening(port)
        environment["VOCELIO_KEY"] = (await run("key", "create", "--role", "platform")).strip()
        assert "there is no Twilio account" in await run("doctor")
        assert "dialed +13105550112: answered" in await run("call", NUMBER, "--press", "2")
        call = await _last_call(port, environment["VOCELIO_KEY"])
        assert "the same actions" in await run("replay", call, "--tenant", "harbour")
        other = json.loads((ROOT / "examples" / "front-desk.json").read_text())
        other["nodes"]["ask"]["choices"]["billing"]["key"] = "7"
        (tmp_path / "front-desk.json").write_text(json.dumps(other))
        compared = await run("replay", call, "--tenant", "harbour", "--flow", "front-desk.json")
        assert "another conversation from turn" in compared
        promoted = await run("flow", "promote", "front-desk.json", "--tenant", "harbour", "--note", "billing has moved")
        assert "front-desk: version 2 is active" in promoted
        assert "dialed +13105550112: answered" in await run("call", NUMBER, "--press", "7")
        environment["VOCELIO_KEY"] = (await run("key", "create", "--role", "viewer", "--tenant", "harbour")).strip()
        code, _, err = await run_vocelio("flow", "promote", "front-desk.json", cwd=tmp_path, environment=environment)
        assert code == 2
        assert "Forbidden" in err
    finally:
        server.send_signal(signal.SIGTERM)
        await asyncio.wait_for(server.communicate(), 20)


async def _last_call(port, key):
    headers = {"Authorization": f"Bearer {key}", "Vocelio-Tenant": "harbour"}
    url = f"http://localhost:{port}/v1/calls"
    async with aiohttp.ClientSession(headers=headers) as session, session.get(url) as answer:
        return (await answer.json())["items"][0]["id"]


async def test_help_lists_the_commands():
    code, out, err = await run_script("--help")
    assert (code, err) == (0, "")
    assert "replay" in out


@pytest.mark.parametrize(
    ("arguments", "code", "output"),
    [
        (("flow", "validate", "examples/front-desk.json"), 0, "nodes, version"),
        (("flow", "validate", "tests/data/flows/template.json"), 1, "error [template]"),
        (("flow", "test", "examples/hours-dental.json"), 0, "exits taken (100%)"),
        (("flow", "show", "examples/front-desk.json"), 0, "greet"),
        (("flow", "show", "examples/front-desk.json", "--format", "svg"), 0, "<svg"),
        (("flow", "show", "examples/front-desk.json", "--format", "dot"), 0, "digraph"),
    ],
)
async def test_flow_commands(arguments, code, output):
    actual_code, out, err = await run_vocelio(*arguments)
    assert (actual_code, err) == (code, "")
    assert output in out


@pytest.mark.parametrize(
    ("arguments", "environment", "message"),
    [
        (("serve",), {"VOCELIO_PUBLIC_ULR": "x"}, "VOCELIO_PUBLIC_ULR"),
        (("serve", "--site", "nowhere"), {}, "nowhere/site.json: cannot be read"),
        (("replay", "CA" + "0" * 32), {}, "VOCELIO_KEY"),
        (("replay", "CA" + "0" * 32, "--server", "http://127.0.0.1:1"), {"VOCELIO_KEY": "voc_x_y"}, "no response from"),
        (("key", "create", "--role", "viewer"), {}, "VOCELIO_KEY"),
        (("serve",), {"VOCELIO_DATABASE_URL": "mysql://localhost/x"}, "VOCELIO_DATABASE_URL"),
        (("call", NUMBER, "--server", "http://127.0.0.1:1"), {}, ""),
    ],
)
async def test_errors_are_printed_without_a_traceback(arguments, environment, message, tmp_path):
    code, out, err = await run_vocelio(*arguments, cwd=tmp_path, environment=environment)
    assert code in (1, 2)
    assert message in err
    assert "Traceback" not in out + err


async def test_broken_flow_in_the_site_folder_prevents_the_start(tmp_path):
    site = tmp_path / "site"
    (site / "flows").mkdir(parents=True)
    (site / "site.json").write_bytes((ROOT / "examples" / "site" / "site.json").read_bytes())
    flow = json.loads((ROOT / "examples" / "front-desk.json").read_text())
    flow["nodes"]["ask"]["exits"]["sales"] = "anounce"
    (site / "flows" / "front-desk.json").write_text(json.dumps(flow))
    code, _, err = await run_vocelio("serve", "--site", str(site), cwd=tmp_path)
    assert code == 2
    assert "flows/front-desk.json: nodes.ask.exits.sales" in err
    assert "did you mean `announce`?" in err


async def test_spoken_scenarios_pass():
    code, out, err = await run_vocelio("flow", "test", "examples/hangup-locksmith.json", "--audio")
    assert (code, err) == (0, ""), out
    assert "calls passed" in out
