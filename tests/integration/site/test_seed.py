"""A site folder in a database: `serve --site` creates what is missing, `site apply` also changes what differs."""

import json
import shutil
from pathlib import Path

import pytest

from tests.integration.store.test_sounds import make_wav
from tests.support.tenant_fixtures import audit_actions, audit_entries, flow_document
from vocelio.gateway.errors import SiteFolderError
from vocelio.gateway.model.tenant import Department, Tenant
from vocelio.gateway.site.folder import SiteFolder
from vocelio.gateway.site.seed import apply_folder, list_changes, seed_database
from vocelio.gateway.store import numbers
from vocelio.gateway.store.flows import drafts, promotion, versions
from vocelio.gateway.store.flows.drafts import PauseSettings
from vocelio.gateway.store.flows.promotion import RollbackRequest
from vocelio.gateway.store.tenants import departments, sounds, tenants
from vocelio.gateway.store.tenants.tenants import TenantUpdate

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


async def test_apply_changes_what_differs_and_leaves_the_rest_alone(database, make_actor, site_folder):
    await seed_database(database, SiteFolder(site_folder), make_actor("", "platform"))
    await drafts.put_flow(database, make_actor(), "extra", flow_document(), None)
    done = len(await audit_entries(database))
    flow = site_folder / "flows" / "front-desk.json"
    flow.write_text(flow.read_text().replace("Thank you for calling", "Welcome to"))
    change_site(site_folder, tenant={"id": "harbour", "name": "Harbour", "time_zone": "Europe/Berlin"})
    await apply_folder(database, SiteFolder(site_folder), make_actor("", "platform"))
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
    await apply_folder(database, SiteFolder(site_folder), make_actor("", "platform"))
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


async def change_by_api(database, make_actor):
    """Change one resource of each kind as an administrator would during an emergency."""
    settings = TenantUpdate(name="Harbor", record_calls=True, blocked_callers=("+13105550142",), max_concurrent_calls=5)
    await tenants.update_tenant(database, make_actor(), "harbour", settings)
    await departments.put_department(database, make_actor(), "sales", Department(("+13105550199",)))
    await sounds.put_mulaw(database, make_actor(), "welcome", b"\x7e" * 800)
    await drafts.put_flow(database, make_actor(), "front-desk", flow_document("By API."), 0)
    await promotion.promote_flow(database, make_actor(), "front-desk", "")
    await drafts.put_flow(database, make_actor(), "other", flow_document(), None)
    await promotion.promote_flow(database, make_actor(), "other", "")
    await numbers.assign_number(database, make_actor(), ONE, "other")


@pytest.fixture
def full_site(site_folder):
    """A folder with every kind of resource."""
    (site_folder / "sounds").mkdir()
    (site_folder / "sounds" / "welcome.wav").write_bytes(make_wav())
    return site_folder


async def test_start_undoes_nothing_that_was_changed_by_api(database, make_actor, full_site):
    await seed_database(database, SiteFolder(full_site), make_actor("", "platform"))
    await change_by_api(database, make_actor)
    before = await audit_entries(database)
    report = await seed_database(database, SiteFolder(full_site), make_actor("", "platform"))
    assert await audit_entries(database) == before
    assert report.created == []
    assert [change.resource for change in report.left_alone] == [
        "settings of tenant harbour",
        "department sales",
        "sound welcome",
        "flow front-desk",
        f"assignment of {ONE}",
    ]


@pytest.mark.parametrize("change", ["rolled back", "unassigned", "paused", "draft saved"])
async def test_start_keeps_an_emergency_change(database, make_actor, site_folder, change):
    await seed_database(database, SiteFolder(site_folder), make_actor("", "platform"))
    flow = site_folder / "flows" / "front-desk.json"
    flow.write_text(flow.read_text().replace("Thank you for calling", "Welcome to"))
    await apply_folder(database, SiteFolder(site_folder), make_actor("", "platform"))
    match change:
        case "rolled back":
            await promotion.rollback_flow(database, make_actor(), "front-desk", RollbackRequest(1))
        case "unassigned":
            await numbers.unassign_number(database, make_actor(), ONE)
        case "paused":
            await drafts.pause_flow(database, make_actor(), "front-desk", PauseSettings())
        case "draft saved":
            await drafts.put_flow(database, make_actor(), "front-desk", flow_document(), 0)
    before = await audit_entries(database)
    assert (await seed_database(database, SiteFolder(site_folder), make_actor("", "platform"))).created == []
    assert await audit_entries(database) == before


async def test_start_creates_what_is_missing_beside_what_was_changed(database, make_actor, full_site):
    await seed_database(database, SiteFolder(full_site), make_actor("", "platform"))
    await change_by_api(database, make_actor)
    await departments.delete_department(database, make_actor(), "desk")
    site = json.loads((full_site / "site.json").read_text())
    change_site(full_site, numbers=site["numbers"] | {"+13072249664": {"flow": "second"}})
    (full_site / "flows" / "second.json").write_bytes(flow_document())
    report = await seed_database(database, SiteFolder(full_site), make_actor("", "platform"))
    assert [change.resource for change in report.created] == [
        "number +13072249664",
        "department desk",
        "flow second",
        "assignment of +13072249664",
    ]
    assert (await numbers.get_number(database, "harbour", "+13072249664")).flow == "second"
    assert (await tenants.get_tenant(database, "harbour")).record_calls


async def test_start_completes_one_that_was_interrupted(database, make_actor, site_folder):
    folder = SiteFolder(site_folder)
    changes = await list_changes(database, folder)
    for done in range(len(changes)):
        await changes[done].apply(make_actor())
        assert [str(change) for change in await list_changes(database, folder)] == [
            str(change) for change in changes[done + 1 :]
        ]
        assert all(change.is_new for change in await list_changes(database, folder))


async def test_draft_that_somebody_is_writing_is_not_promoted_by_a_start(database, make_actor, site_folder):
    await tenants.create_tenant(database, make_actor("", "platform"), Tenant(id="harbour", name="Harbour Tools"))
    await drafts.put_flow(database, make_actor(), "front-desk", b'{"name": "not ready"}', None)
    report = await seed_database(database, SiteFolder(site_folder), make_actor("", "platform"))
    assert [change.resource for change in report.left_alone] == ["flow front-desk", f"assignment of {ONE}"]
    assert (await drafts.get_flow(database, "harbour", "front-desk")).revision == 1


async def test_apply_makes_the_database_equal_and_touches_only_what_the_folder_names(database, make_actor, full_site):
    await seed_database(database, SiteFolder(full_site), make_actor("", "platform"))
    await change_by_api(database, make_actor)
    folder = SiteFolder(full_site)
    planned = await list_changes(database, folder)
    assert list(map(str, await apply_folder(database, folder, make_actor("", "platform")))) == list(map(str, planned))
    assert await list_changes(database, folder) == []
    tenant = await tenants.get_tenant(database, "harbour")
    assert (tenant.name, tenant.record_calls, tenant.max_concurrent_calls) == ("Harbour Tools", True, 5)
    assert tenant.blocked_callers == ("+13105550142",)
    assert await departments.list_departments(database, "harbour") == dict(sorted(folder.departments.items()))
    assert (await numbers.get_number(database, "harbour", ONE)).flow == "front-desk"
    assert (await drafts.get_flow(database, "harbour", "front-desk")).active_version == 3


async def test_apply_uses_the_voice_that_the_folder_names(database, make_actor, site_folder):
    await seed_database(database, SiteFolder(site_folder), make_actor("", "platform"))
    voice = {"tier": "azure", "name": "en-US-AvaNeural"}
    change_site(site_folder, tenant={"id": "harbour", "name": "Harbour Tools", "voice": voice})
    folder = SiteFolder(site_folder)
    await apply_folder(database, folder, make_actor("", "platform"))
    assert await list_changes(database, folder) == []
