"""A database brought in line with a folder: everything is there once, and a second time nothing happens."""

import json
import shutil
from pathlib import Path

import pytest

from tests.integration.store.test_sounds import wav
from tests.integration.store.things import actions, document, trail
from vocelio.gateway.errors import SiteError
from vocelio.gateway.site.folder import Folder
from vocelio.gateway.site.seed import fill
from vocelio.gateway.store import numbers
from vocelio.gateway.store.flows import drafts, versions
from vocelio.gateway.store.tenants import departments, sounds, tenants

SITE = Path(__file__).parents[3] / "examples" / "site"
ONE = "+13072249663"


@pytest.fixture
def site(tmp_path):
    """A copy of the example that can be changed."""
    folder = tmp_path / "site"
    shutil.copytree(SITE, folder)
    return folder


def change(site, **parts):
    file = site / "site.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | parts))


async def test_the_example_is_all_there(database, actor, site):
    folder = Folder(site)
    await fill(database, folder, actor("", "platform"))
    assert (await tenants.show(database, "harbour")).name == "Harbour Tools"
    assert await departments.every(database, "harbour") == dict(sorted(folder.departments.items()))
    assert (await numbers.show(database, "harbour", ONE)).flow == "front-desk"
    async with database.reading() as connection:
        version = await versions.load(connection, "harbour", "front-desk", 1)
    assert version.id == folder.flows["front-desk"].id
    assert [action for action, _ in await actions(database)] == [
        "number.created",
        *["department.changed"] * 4,
        "flow.drafted",
        "flow.promoted",
        "number.assigned",
    ]


async def test_a_second_time_nothing_happens(database, actor, site):
    (site / "sounds").mkdir()
    (site / "sounds" / "welcome.wav").write_bytes(wav())
    await fill(database, Folder(site), actor("", "platform"))
    before = await trail(database)
    assert [sound.name for sound in await sounds.every(database, "harbour")] == ["welcome"]
    await fill(database, Folder(site), actor("", "platform"))
    assert await trail(database) == before


async def test_what_is_different_is_changed_and_what_the_folder_has_not_is_left_alone(database, actor, site):
    await fill(database, Folder(site), actor("", "platform"))
    await drafts.put(database, actor(), "extra", document(), None)
    done = len(await trail(database))
    flow = site / "flows" / "front-desk.json"
    flow.write_text(flow.read_text().replace("Thank you for calling", "Welcome to"))
    change(site, tenant={"id": "harbour", "name": "Harbour", "time_zone": "Europe/Berlin"})
    await fill(database, Folder(site), actor("", "platform"))
    assert [line[0] for line in (await trail(database))[done:]] == ["tenant.changed", "flow.drafted", "flow.promoted"]
    kept = await drafts.show(database, "harbour", "front-desk")
    assert (kept.revision, kept.active) == (2, 2)
    assert (await drafts.show(database, "harbour", "extra")).revision == 1


async def test_flows_are_promoted_in_the_order_in_which_they_need_each_other(database, actor, site):
    for name, called in (("a", ["b"]), ("b", ["z", "c"]), ("c", []), ("z", [])):
        (site / "flows" / f"{name}.json").write_bytes(document(calls=called))
    folder = Folder(site)
    await fill(database, folder, actor("", "platform"))
    assert (await versions.show(database, "harbour", "a", 1)).subflows == {"b": ("b", 1)}
    (site / "flows" / "z.json").write_bytes(document("Changed"))
    await fill(database, Folder(site), actor("", "platform"))
    active = {flow.flow: flow.active for flow in (await drafts.every(database, "harbour", 50, "")).items}
    assert active == {"a": 2, "b": 2, "c": 1, "front-desk": 1, "z": 2}


async def test_a_number_that_is_somebody_elses_is_told(database, actor, site):
    await fill(database, Folder(site), actor("", "platform"))
    change(site, tenant={"id": "museum", "name": "Museum"})
    with pytest.raises(SiteError, match=r"\+13072249663"):
        await fill(database, Folder(site), actor("", "platform"))


async def test_names_that_cannot_be_are_told(database, actor, site):
    (site / "flows" / "Front Desk.json").write_bytes(document())
    with pytest.raises(SiteError, match="`Front Desk` cannot be a name"):
        await fill(database, Folder(site), actor("", "platform"))
    assert (await tenants.every(database, 50, "")).items == []
