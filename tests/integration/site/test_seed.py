"""Seeding a database from a site folder: everything is created once, and seeding again changes nothing."""

import json
import shutil
from pathlib import Path

import pytest

from tests.integration.store.test_sounds import make_wav
from tests.support.tenant_fixtures import audit_actions, audit_entries, flow_document
from vocelio.gateway.errors import SiteFolderError
from vocelio.gateway.site.folder import SiteFolder
from vocelio.gateway.site.seed import seed_database
from vocelio.gateway.store import numbers
from vocelio.gateway.store.flows import drafts, versions
from vocelio.gateway.store.tenants import departments, sounds, tenants

SITE = Path(__file__).parents[3] / "examples" / "site"
ONE = "+13072249663"


@pytest.fixture
def site_folder(tmp_path):
    """A copy of the example site."""
    folder = tmp_path / "site"
    shutil.copytree(SITE, folder)
    return folder


def change_site(site, **parts):
    file = site / "site.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | parts))


async def test_example_site_is_seeded_completely(database, make_actor, site_folder):
    folder = SiteFolder(site_folder)
    await seed_database(database, folder, make_actor("", "platform"))
    assert (await tenants.get_tenant(database, "harbour")).name == "Harbour Tools"
    assert await departments.list_departments(database, "harbour") == dict(sorted(folder.departments.items()))
    assert (await numbers.get_number(database, "harbour", ONE)).flow == "front-desk"
    async with database.read() as connection:
        version = await versions.load_version(connection, "harbour", "front-desk", 1)
    assert version.id == folder.flows["front-desk"].id
    assert [action for action, _ in await audit_actions(database)] == [
        "number.created",
        *["department.updated"] * 4,
        "flow.draft_saved",
        "flow.promoted",
        "number.assigned",
    ]


async def test_seeding_again_changes_nothing(database, make_actor, site_folder):
    (site_folder / "sounds").mkdir()
    (site_folder / "sounds" / "welcome.wav").write_bytes(make_wav())
    await seed_database(database, SiteFolder(site_folder), make_actor("", "platform"))
    before = await audit_entries(database)
    assert [sound.name for sound in await sounds.list_sounds(database, "harbour")] == ["welcome"]
    await seed_database(database, SiteFolder(site_folder), make_actor("", "platform"))
    assert await audit_entries(database) == before


async def test_seeding_changes_what_differs_and_leaves_the_rest_alone(database, make_actor, site_folder):
    await seed_database(database, SiteFolder(site_folder), make_actor("", "platform"))
    await drafts.put_flow(database, make_actor(), "extra", flow_document(), None)
    done = len(await audit_entries(database))
    flow = site_folder / "flows" / "front-desk.json"
    flow.write_text(flow.read_text().replace("Thank you for calling", "Welcome to"))
    change_site(site_folder, tenant={"id": "harbour", "name": "Harbour", "time_zone": "Europe/Berlin"})
    await seed_database(database, SiteFolder(site_folder), make_actor("", "platform"))
    assert [line[0] for line in (await audit_entries(database))[done:]] == [
        "tenant.updated",
        "flow.draft_saved",
        "flow.promoted",
    ]
    kept = await drafts.get_flow(database, "harbour", "front-desk")
    assert (kept.revision, kept.active_version) == (2, 2)
    assert (await drafts.get_flow(database, "harbour", "extra")).revision == 1


async def test_called_flows_are_promoted_before_their_callers(database, make_actor, site_folder):
    for name, called in (("a", ["b"]), ("b", ["z", "c"]), ("c", []), ("z", [])):
        (site_folder / "flows" / f"{name}.json").write_bytes(flow_document(calls=called))
    folder = SiteFolder(site_folder)
    await seed_database(database, folder, make_actor("", "platform"))
    assert (await versions.get_version(database, "harbour", "a", 1)).subflows == {"b": ("b", 1)}
    (site_folder / "flows" / "z.json").write_bytes(flow_document("Changed"))
    await seed_database(database, SiteFolder(site_folder), make_actor("", "platform"))
    active = {flow.id: flow.active_version for flow in (await drafts.list_flows(database, "harbour", 50, "")).items}
    assert active == {"a": 2, "b": 2, "c": 1, "front-desk": 1, "z": 2}


async def test_number_of_another_tenant_is_reported(database, make_actor, site_folder):
    await seed_database(database, SiteFolder(site_folder), make_actor("", "platform"))
    change_site(site_folder, tenant={"id": "museum", "name": "Museum"})
    with pytest.raises(SiteFolderError, match=r"\+13072249663"):
        await seed_database(database, SiteFolder(site_folder), make_actor("", "platform"))


async def test_invalid_names_are_reported(database, make_actor, site_folder):
    (site_folder / "flows" / "Front Desk.json").write_bytes(flow_document())
    with pytest.raises(SiteFolderError, match="`Front Desk` is not a valid name"):
        await seed_database(database, SiteFolder(site_folder), make_actor("", "platform"))
    assert (await tenants.list_tenants(database, 50, "")).items == []
