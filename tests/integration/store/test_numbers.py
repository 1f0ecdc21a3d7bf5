"""Numbers: one owner, one flow at a time, and a history that is kept."""

import asyncio
import itertools

import msgspec
import pytest

from tests.integration.store.test_flows import put_and_promote, put_draft
from tests.support.tenant_fixtures import audit_actions, audit_entries, create_tenant, insert_rows
from vocelio.gateway.errors import Conflict, InvalidInput, NotFound
from vocelio.gateway.store import numbers
from vocelio.gateway.store.db.schema import numbers as table
from vocelio.gateway.store.numbers import NewNumber, NumberUpdate

ONE, TWO, THREE = "+13072249663", "+13072249664", "+13072249665"


async def assignment_history(database, number=ONE, of="harbour"):
    page = await numbers.list_assignments(database, of, number, 50, "")
    return [(line.position, line.flow, line.created_by, line.created_at) for line in page.items]


async def test_number_is_created_updated_and_deleted(database, make_actor):
    harbour = await create_tenant(database, make_actor)
    created = await numbers.create_number(database, harbour, NewNumber(ONE, "Head office", TWO))
    assert await numbers.get_number(database, "harbour", ONE) == created
    renamed = await numbers.update_number(database, make_actor(), ONE, NumberUpdate(label="Office"))
    assert (renamed.label, renamed.fallback_number) == ("Office", TWO)
    without = await numbers.update_number(database, make_actor(), ONE, NumberUpdate(fallback_number=None))
    assert (without.label, without.fallback_number) == ("Office", None)
    assert await numbers.update_number(database, make_actor(), ONE, NumberUpdate()) == without
    await numbers.delete_number(database, make_actor(), ONE)
    with pytest.raises(NotFound):
        await numbers.get_number(database, "harbour", ONE)
    assert [action for action, _ in await audit_actions(database)] == [
        "number.created",
        "number.updated",
        "number.updated",
        "number.deleted",
    ]
    assert [line[2] and line[2]["label"] for line in (await audit_entries(database))[1:]] == [
        None,
        "Head office",
        "Office",
        "Office",
    ]


async def test_number_has_one_owner_who_is_not_revealed(database, make_actor):
    harbour, museum = await create_tenant(database, make_actor), await create_tenant(database, make_actor, "museum")
    await numbers.create_number(database, harbour, NewNumber(ONE))
    messages = []
    for item in (harbour, museum):
        with pytest.raises(Conflict) as refused:
            await numbers.create_number(database, item, NewNumber(ONE))
        messages.append(str(refused.value))
    assert messages[0] == messages[1]
    assert "harbour" not in messages[0].lower()
    assert await audit_actions(database, "museum") == []
    await numbers.delete_number(database, harbour, ONE)
    await numbers.create_number(database, museum, NewNumber(ONE))


async def test_number_created_concurrently_by_two_tenants_belongs_to_one(database, make_actor):
    actors = [await create_tenant(database, make_actor, name) for name in ("harbour", "museum")]
    results = await asyncio.gather(
        *(numbers.create_number(database, item, NewNumber(ONE)) for item in actors), return_exceptions=True
    )
    assert sorted(type(item).__name__ for item in results) == ["AlreadyExists", "Number"]


async def test_number_of_another_tenant_is_not_found(database, make_actor):
    harbour, museum = await create_tenant(database, make_actor), await create_tenant(database, make_actor, "museum")
    await put_and_promote(database, harbour)
    await put_and_promote(database, museum)
    await numbers.create_number(database, harbour, NewNumber(ONE))
    await numbers.assign_number(database, harbour, ONE, "front-desk")
    for refused in (
        numbers.get_number(database, "museum", ONE),
        numbers.update_number(database, museum, ONE, NumberUpdate(label="Mine")),
        numbers.delete_number(database, museum, ONE),
        numbers.assign_number(database, museum, ONE, "front-desk"),
        numbers.unassign_number(database, museum, ONE),
        numbers.list_assignments(database, "museum", ONE, 50, ""),
    ):
        with pytest.raises(NotFound):
            await refused
    assert (await numbers.list_numbers(database, "museum", 50, "")).items == []
    assert (await numbers.get_number(database, "harbour", ONE)).flow == "front-desk"


async def test_number_cannot_be_its_own_fallback(database, make_actor):
    harbour = await create_tenant(database, make_actor)
    with pytest.raises(InvalidInput) as refused:
        await numbers.create_number(database, harbour, NewNumber(ONE, fallback_number=ONE))
    assert refused.value.errors[0].path == "fallback_number"
    await numbers.create_number(database, harbour, NewNumber(ONE))
    with pytest.raises(InvalidInput):
        await numbers.update_number(database, harbour, ONE, NumberUpdate(fallback_number=ONE))
    assert (await numbers.get_number(database, "harbour", ONE)).fallback_number is None


async def test_fallback_cannot_be_a_number_of_the_gateway(database, make_actor):
    harbour = await create_tenant(database, make_actor)
    await numbers.create_number(database, harbour, NewNumber(ONE))
    with pytest.raises(InvalidInput) as refused:
        await numbers.create_number(database, harbour, NewNumber(TWO, fallback_number=ONE))
    assert refused.value.errors[0].code == "own-number"


async def test_history_survives_deletion_and_is_continued(database, make_actor):
    harbour = await create_tenant(database, make_actor)
    await put_and_promote(database, harbour)
    await put_and_promote(database, harbour, "night")
    await numbers.create_number(database, harbour, NewNumber(ONE))
    assert await assignment_history(database) == []
    steps = [make_actor(key=f"key{place}") for place in range(4)]
    for step, flow in zip(steps, ["front-desk", "front-desk", "night"], strict=False):
        assert (await numbers.assign_number(database, step, ONE, flow)).flow == flow
    with pytest.raises(Conflict, match="Unassign it first"):
        await numbers.delete_number(database, harbour, ONE)
    for _ in range(2):
        assert (await numbers.unassign_number(database, steps[3], ONE)).flow is None
    await numbers.delete_number(database, harbour, ONE)
    assert await assignment_history(database) == [
        (3, None, "key3", steps[3].now),
        (2, "night", "key2", steps[2].now),
        (1, "front-desk", "key0", steps[0].now),
    ]
    await numbers.create_number(database, harbour, NewNumber(ONE))
    await numbers.assign_number(database, harbour, ONE, "night")
    assert [place for place, *_ in await assignment_history(database)] == [4, 3, 2, 1]
    page = await numbers.list_assignments(database, "harbour", ONE, 3, "")
    rest = await numbers.list_assignments(database, "harbour", ONE, 3, page.next_cursor)
    assert ([line.position for line in page.items], [line.position for line in rest.items]) == ([4, 3, 2], [1])
    with pytest.raises(NotFound):
        await assignment_history(database, TWO)


async def test_unknown_or_unpromoted_flow_cannot_be_assigned(database, make_actor):
    harbour = await create_tenant(database, make_actor)
    await numbers.create_number(database, harbour, NewNumber(ONE))
    await put_draft(database, harbour)
    with pytest.raises(Conflict, match="Promote it first"):
        await numbers.assign_number(database, harbour, ONE, "front-desk")
    with pytest.raises(InvalidInput) as refused:
        await numbers.assign_number(database, harbour, ONE, "nothing")
    assert refused.value.errors[0].path == "flow"
    assert await assignment_history(database) == []


async def test_concurrent_assignments_have_one_order(database, make_actor):
    harbour = await create_tenant(database, make_actor)
    for flow in ("one", "two"):
        await put_and_promote(database, harbour, flow)
    await numbers.create_number(database, harbour, NewNumber(ONE))
    await asyncio.gather(*(numbers.assign_number(database, harbour, ONE, ("one", "two")[n % 2]) for n in range(10)))
    history = await assignment_history(database)
    assert [place for place, *_ in history] == list(range(len(history), 0, -1))
    assert all(item[1] != other[1] for item, other in itertools.pairwise(history))
    assert (await numbers.get_number(database, "harbour", ONE)).flow == history[0][1]


async def test_numbers_are_paginated(database, make_actor):
    harbour = await create_tenant(database, make_actor)
    for number in (THREE, ONE, TWO):
        await numbers.create_number(database, harbour, NewNumber(number))
    page = await numbers.list_numbers(database, "harbour", 2, "")
    rest = await numbers.list_numbers(database, "harbour", 2, page.next_cursor)
    assert [item.number for item in (*page.items, *rest.items)] == [ONE, TWO, THREE]
    assert rest.next_cursor == ""


async def test_number_of_numbers_is_limited(database, make_actor):
    harbour = await create_tenant(database, make_actor)
    row = {"tenant_id": "harbour", "label": "", "created_at": 1}
    await insert_rows(database, table, [row | {"number": f"+1307{place:07}"} for place in range(9_999)])
    await numbers.create_number(database, harbour, NewNumber("+13105550110"))
    with pytest.raises(Conflict, match="Delete one first"):
        await numbers.create_number(database, harbour, NewNumber("+13105550111"))


@pytest.mark.parametrize("wrong", ["", "13072249663", "+03072249663", "+1307224966x", f"{ONE}\n", "+1234567890123456"])
def test_invalid_number_is_rejected(wrong):
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"number": wrong}, NewNumber)
