"""`vocelio site apply` and `vocelio serve --site`: what they print, and what they change."""

import json
import shutil
import signal

import pytest

from tests.support.command_runner import ROOT, run_vocelio, running_vocelio
from vocelio.gateway.clock import wall_clock
from vocelio.gateway.store.audit import Actor
from vocelio.gateway.store.db.database import Database
from vocelio.gateway.store.tenants import tenants
from vocelio.gateway.store.tenants.tenants import TenantUpdate


@pytest.fixture
def folder(tmp_path):
    return shutil.copytree(ROOT / "examples" / "site", tmp_path / "site")


async def apply(tmp_path, *options):
    """Run the command; return exit code, lines of output, and errors."""
    code, out, err = await run_vocelio("site", "apply", *options, cwd=tmp_path)
    return code, out.splitlines(), err


async def change_settings(tmp_path, **settings):
    database = Database(f"sqlite+aiosqlite:///{tmp_path}/.vocelio/vocelio.db")
    actor = Actor("key1", "admin", "harbour", "", wall_clock())
    await tenants.update_tenant(database, actor, "harbour", TenantUpdate(**settings))
    await database.aclose()


async def test_apply_prints_each_change_and_a_dry_run_makes_none(tmp_path, folder):
    code, planned, err = await apply(tmp_path, "site", "--dry-run")
    assert (code, err) == (0, "")
    assert planned[-1] == "8 changes, not made (--dry-run)"
    assert await apply(tmp_path, "site", "--dry-run") == (0, planned, "")
    code, made, _ = await apply(tmp_path, "site")
    assert (code, made) == (0, [*planned[:-1], "8 changes"])
    assert made[:2] == ["tenant harbour: create", "number +13072249663: create"]
    assert await apply(tmp_path, "site") == (0, ["nothing to change"], "")
    await change_settings(tmp_path, name="Harbor", max_concurrent_calls=5)
    assert await apply(tmp_path, "site") == (
        0,
        ['settings of tenant harbour: name: "Harbor" -> "Harbour Tools"', "1 change"],
        "",
    )


async def test_apply_reports_problems_of_the_folder(tmp_path, folder):
    (folder / "flows" / "front-desk.json").write_text('{"name": "broken"}')
    code, out, err = await apply(tmp_path, "site")
    assert (code, out) == (2, [])
    assert "flows/front-desk.json" in err
    site = json.loads((folder / "site.json").read_text())
    (folder / "site.json").write_text(json.dumps(site | {"tenant": {"id": "harbour", "name": "H", "typo": 1}}))
    code, _, err = await apply(tmp_path, "site")
    assert (code, "Traceback" in err, "site.json" in err) == (2, False, True)


async def serve_until_listening(tmp_path):
    """Run `serve --site` until it listens; return what it printed."""
    lines = []
    async with running_vocelio("serve", "--port", "0", "--site", "site", cwd=tmp_path) as process:
        while not lines or not lines[-1].startswith("listening"):
            line = (await process.out.readline()).decode()
            assert line, (await process.err.read()).decode()
            lines.append(line.rstrip())
        process.send_signal(signal.SIGTERM)
        await process.wait()
    return lines


async def test_serve_prints_what_it_created_and_what_it_left_alone(tmp_path, folder):
    created = [line for line in await serve_until_listening(tmp_path) if line.startswith("created")]
    assert created[0] == "created tenant harbour"
    assert "created flow front-desk" in created
    await change_settings(tmp_path, name="Harbor", record_calls=True)
    lines = await serve_until_listening(tmp_path)
    assert lines[:2] == [
        'left alone settings of tenant harbour: name: "Harbor" -> "Harbour Tools"',
        "The database differs from site. To make it equal: vocelio site apply site",
    ]
