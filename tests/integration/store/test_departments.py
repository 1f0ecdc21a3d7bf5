"""Departments: created, changed and deleted by one tenant, invisible to others."""

import pytest

from tests.support.tenant_fixtures import audit_actions, audit_entries, create_tenant, insert_rows, tenant_revision
from vocelio.engine.hours import OpeningHours
from vocelio.gateway.errors import Conflict, InvalidInput, NotFound
from vocelio.gateway.model.tenant import Department
from vocelio.gateway.store.audit import dump_json
from vocelio.gateway.store.db.schema import departments as table
from vocelio.gateway.store.tenants import departments

SALES = Department(("+13105550111",), whisper="A \0 sales call: ü")


async def test_departments_are_returned_as_put(database, make_actor):
    harbour = await create_tenant(database, make_actor)
    whole = Department(("+13105550111", "+13105550112"), 15, "simultaneous", "Hello", OpeningHours("Europe/Berlin"))
    for name, department in (("sales", SALES), ("desk", whole)):
        await departments.put_department(database, harbour, name, department)
    assert await departments.list_departments(database, "harbour") == {"desk": whole, "sales": SALES}


async def test_only_real_changes_are_audited_and_raise_the_tenants_revision(database, make_actor):
    harbour = await create_tenant(database, make_actor)
    before = await tenant_revision(database)
    changed = Department(("+13105550119",))
    for department in (SALES, SALES, changed, changed):
        await departments.put_department(database, harbour, "sales", department)
    await departments.delete_department(database, harbour, "sales")
    assert await tenant_revision(database) == before + 3
    first, second, third = (await audit_entries(database))[1:]
    assert first[:3] == ("department.updated", "sales", None)
    assert second[2]["numbers"] == ["+13105550111"]
    assert second[3]["numbers"] == ["+13105550119"]
    assert third[0] == "department.deleted"
    assert await departments.list_departments(database, "harbour") == {}


async def test_department_of_another_tenant_is_not_found(database, make_actor):
    harbour, museum = await create_tenant(database, make_actor), await create_tenant(database, make_actor, "museum")
    await departments.put_department(database, harbour, "sales", SALES)
    assert await departments.list_departments(database, "museum") == {}
    with pytest.raises(NotFound):
        await departments.delete_department(database, museum, "sales")
    await departments.put_department(database, museum, "sales", Department(("+13105550999",)))
    assert await departments.list_departments(database, "harbour") == {"sales": SALES}
    assert await audit_actions(database, "museum") == [("department.updated", "sales")]


async def test_number_of_departments_is_limited(database, make_actor):
    harbour = await create_tenant(database, make_actor)
    row = {"tenant_id": "harbour", "settings": dump_json(SALES), "updated_at": 1}
    await insert_rows(database, table, [row | {"name": f"d{place}"} for place in range(499)])
    await departments.put_department(database, harbour, "last", SALES)
    with pytest.raises(Conflict, match="Delete one first"):
        await departments.put_department(database, harbour, "one-more", SALES)
    await departments.put_department(database, harbour, "last", Department(("+13105550119",)))


async def test_invalid_hours_are_rejected_with_their_paths(database, make_actor):
    harbour = await create_tenant(database, make_actor)
    hours = OpeningHours("Europe/Atlantis", {"mon": (("09:00", "09:00"),)}, ("2026-02-30",))
    with pytest.raises(InvalidInput) as refused:
        await departments.put_department(database, harbour, "sales", Department(("+13105550111",), hours=hours))
    assert [problem.path for problem in refused.value.errors] == [
        "hours.time_zone",
        "hours.weekly.mon[0]",
        "hours.holidays[0]",
    ]
    assert await departments.list_departments(database, "harbour") == {}
