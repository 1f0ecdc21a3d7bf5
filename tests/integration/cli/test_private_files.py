"""The gateway's files are readable only by its own user. Commands run with umask 0 (`command_runner`)."""

import json
import signal
import stat

import pytest

from tests.integration.cli.test_serve import running_serve
from tests.support.command_runner import run_vocelio


def modes(folder):
    """Return the modes of all files and folders below a folder, by their names."""
    found = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.rglob("*")}
    return {name: mode for name, mode in found.items() if name != "lock"}


def is_private(mode):
    return mode & 0o077 == 0


async def stop(process):
    process.send_signal(signal.SIGTERM)
    await process.wait()


async def test_files_of_serve_are_private(tmp_path):
    async with running_serve(tmp_path, 0) as process:
        found = modes(tmp_path)
        await stop(process)
    assert {".vocelio", "secret", "vocelio.db", "vocelio.db-wal", "vocelio.db-shm", "storage"} <= set(found)
    assert [name for name, mode in found.items() if not is_private(mode)] == []


async def test_database_in_a_folder_of_others_is_private(tmp_path):
    (tmp_path / "data").mkdir()
    settings = {
        "VOCELIO_DATABASE_URL": f"sqlite+aiosqlite:///{tmp_path}/data/calls.db",
        "VOCELIO_STORAGE_URL": "sounds",
    }
    code, _, err = await run_vocelio("key", "create", "--role", "platform", cwd=tmp_path, environment=settings)
    assert code == 0, err
    found = modes(tmp_path)
    assert is_private(found["calls.db"])
    assert found["data"] == 0o755, "the administrator's folder"


@pytest.mark.parametrize("command", [("key", "create", "--role", "platform"), ("call", "+13072249663", "--say", "x")])
async def test_files_of_the_first_command_are_private(tmp_path, command):
    await run_vocelio(*command, cwd=tmp_path, environment={"PORT": "1"})
    assert [name for name, mode in modes(tmp_path).items() if not is_private(mode)] == []


async def test_existing_files_are_reported_by_doctor_and_corrected_by_serve(tmp_path):
    async with running_serve(tmp_path, 0) as process:
        await stop(process)
    folder = tmp_path / ".vocelio"
    for name, mode in {"": 0o755, "secret": 0o640, "vocelio.db": 0o644, "storage": 0o775}.items():
        (folder / name).chmod(mode)
    _, out, _ = await run_vocelio("doctor", "--json", cwd=tmp_path, environment={"PORT": "1"})
    (files,) = [check for check in json.loads(out)["checks"] if check["name"] == "files"]
    assert files["verdict"] == "failed"
    for reported in ("secret has mode 0640", "vocelio.db has mode 0644", "storage has mode 0775"):
        assert reported in files["detail"]
    async with running_serve(tmp_path, 0) as process:
        found = modes(tmp_path)
        await stop(process)
    assert [name for name, mode in found.items() if not is_private(mode)] == []
