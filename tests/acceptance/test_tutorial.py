"""The commands of docs/tutorial.md, and the README's first API call, run as they stand, with a shell and curl."""

import asyncio
import json
import os
import re
import shutil
from pathlib import Path

import pytest

from tests.support.free_ports import free_ports
from tests.support.process_env import clean_environment

ROOT = Path(__file__).parents[2]
TEMPORARY_DIRECTORY = "/tmp/"  # noqa: S108 (where the tutorial writes, replaced)


def tutorial_commands():
    """The indented lines of docs/tutorial.md, in order."""
    lines = (ROOT / "docs" / "tutorial.md").read_text().splitlines()
    return [line[4:] for line in lines if line.startswith("    ")]


def readme_commands(heading):
    """The indented lines under a heading of the README, in order."""
    text = (ROOT / "README.md").read_text()
    section = re.search(rf"^## {heading}\n(.*?)^## ", text, re.MULTILINE | re.DOTALL)[1]
    return [line[4:] for line in section.splitlines() if line.startswith("    ")]


async def run_commands(commands, folder, port):
    """Run the commands in a shell; return its output, in which each command is echoed."""
    for name in (".venv", "examples"):
        (folder / name).symlink_to(ROOT / name)
    script = (
        "\n".join(commands).replace("localhost:8080", f"localhost:{port}").replace(TEMPORARY_DIRECTORY, f"{folder}/")
    )
    environment = clean_environment()
    process = await asyncio.create_subprocess_exec(
        "bash",
        "-c",
        f"set -v -o pipefail\n{script}\nwait",
        cwd=folder,
        env=environment | {"PORT": str(port), "COLUMNS": "200", "no_proxy": "localhost"},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        out, _ = await asyncio.wait_for(process.communicate(), 100)
    finally:
        if process.returncode is None:
            os.killpg(process.pid, 9)
    return out.decode()


def json_lines(said):
    """Every line of JSON, in order."""
    return [json.loads(line) for line in said.splitlines() if line.startswith("{") and line.endswith("}")]


async def test_from_an_empty_database_to_a_rollback_with_curl(tmp_path):
    if not shutil.which("curl"):
        pytest.fail("the tutorial needs curl, as `make test` would have installed it")
    (tmp_path / ".vocelio").mkdir()
    said = await run_commands(tutorial_commands(), tmp_path, *free_ports())
    answers = json_lines(said)
    problems = [answer for answer in answers if answer.get("status") in range(400, 600)]
    assert [problem["status"] for problem in problems] == [422], said
    errors = {error["path"]: error for error in problems[0]["errors"]}
    assert errors["start"]["hint"] == "did you mean `greet`?"
    assert errors["nodes.to_sales.department"]["code"] == "no-such-department"
    promoted = [answer["version"]["number"] for answer in answers if "version" in answer and "new" in answer]
    assert promoted == [1, 2]
    (timeline,) = [answer for answer in answers if "events" in answer]
    assert (timeline["outcome"], timeline["department"]) == ("transferred", "billing")
    types = {reported["type"] for reported in timeline["events"]}
    assert {"call.started", "dtmf.received", "transfer.ended", "call.ended"} <= types
    (spent,) = [answer for answer in answers if "total" in answer]
    assert spent["total"]["billed_microseconds"] == timeline["billed_microseconds"] > 0
    assert "dialed +13105550111: answered" in said
    assert "Twilio says: We are at lunch until one." in said
    (difference,) = [answer for answer in answers if "changes" in answer]
    assert "Just a moment" in json.dumps(difference)
    audit = next(answer for answer in answers if answer.get("items") and "action" in answer["items"][0])
    actions = [entry["action"] for entry in audit["items"]]
    assert actions[0] == "flow.rolled_back"
    assert {"flow.promoted", "flow.paused", "flow.resumed", "number.assigned", "department.updated"} <= set(actions)
    assert "Traceback" not in said


def test_tutorial_commands_are_found():
    assert sum(bool(re.match("api '?localhost:8080", line)) for line in tutorial_commands()) > 12


async def test_first_api_call_of_the_readme_lists_calls(tmp_path):
    serve = [
        ".venv/bin/vocelio serve --site examples/site &",
        "curl --silent --retry 60 --retry-delay 1 --retry-connrefused localhost:8080/healthz",
    ]
    output = await run_commands(
        [*serve, *readme_commands("First API call"), "echo", "kill %1"], tmp_path, *free_ports()
    )
    assert '{"items":[],"next' in output, output
    assert "Traceback" not in output
