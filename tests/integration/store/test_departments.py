"""Departments: kept, changed and removed by one tenant, and out of reach of all others."""

import pytest

from tests.integration.store.things import actions, fill_up, revision, tenant, trail
from vocelio.engine.hours import OpeningHours
from vocelio.gateway.errors import Conflict, Invalid, NotFound
from vocelio.gateway.model.tenant import Department
from vocelio.gateway.store.audit.actor import to_json
from vocelio.gateway.store.db.schema import departments as table
from vocelio.gateway.store.tenants import departments

SALES = Department(("+13105550111",), whisper="A \0 sales call: ü")


async def test_a_department_comes_back_as_it_was_put(database, actor):
    harbour = await tenant(database, actor)
    whole = Department(("+13105550111", "+13105550112"), 15, "together", "Hello", OpeningHours("Europe/Berlin"))
    for name, department in (("sales", SALES), ("desk", whole)):
        await departments.put(database, harbour, name, department)
    assert await departments.every(database, "harbour") == {"desk": whole, "sales": SALES}


async def test_a_change_is_on_the_trail_and_seen_by_the_next_call_and_no_change_is_not(database, actor):
    harbour = await tenant(database, actor)
    before = await revision(database)
    changed = Department(("+13105550119",))
    for department in (SALES, SALES, changed, changed):
        await departments.put(database, harbour, "sales", department)
    await departments.remove(database, harbour, "sales")
    assert await revision(database) == before + 3
    first, second, third = (await trail(database))[1:]
    assert first[:3] == ("department.changed", "sales", None)
    assert second[2]["numbers"] == ["+13105550111"]
    assert second[3]["numbers"] == ["+13105550119"]
    assert third[0] == "department.removed"
    assert await departments.every(database, "harbour") == {}


async def test_another_tenants_department_is_not_there(database, actor):
    harbour, museum = await tenant(database, actor), await tenant(database, actor, "museum")
    await departments.put(database, harbour, "sales", SALES)
    assert await departments.every(database, "museum") == {}
    with pytest.raises(NotFound):
        await departments.remove(database, museum, "sales")
    await departments.put(database, museum, "sales", Department(("+13105550999",)))
    assert await departments.every(database, "harbour") == {"sales": SALES}
    assert await actions(database, "museum") == [("department.changed", "sales")]


async def test_departments_are_bounded(database, actor):
    harbour = await tenant(database, actor)
    row = {"tenant_id": "harbour", "settings": to_json(SALES), "changed": 1}
    await fill_up(database, table, [row | {"name": f"d{place}"} for place in range(499)])
    await departments.put(database, harbour, "last", SALES)
    with pytest.raises(Conflict, match="Remove one first"):
        await departments.put(database, harbour, "one-more", SALES)
    await departments.put(database, harbour, "last", Department(("+13105550119",)))


async def test_hours_that_cannot_be_are_told_and_not_kept(database, actor):
    harbour = await tenant(database, actor)
    hours = OpeningHours("Europe/Atlantis", {"mon": (("09:00", "09:00"),)}, ("2026-02-30",))
    with pytest.raises(Invalid) as refused:
        await departments.put(database, harbour, "sales", Department(("+13105550111",), hours=hours))
    assert [problem.path for problem in refused.value.errors] == [
        "hours.time_zone",
        "hours.weekly.mon[0]",
        "hours.holidays[0]",
    ]
    assert await departments.every(database, "harbour") == {}
