"""A flow's life: drafts that nobody overwrites unseen, versions that stay as they are, pause and rollback."""

import asyncio
import json
import threading

import msgspec
import pytest
from sqlalchemy import func, select

from tests.integration.store.things import actions, document, fill_up, tenant, trail
from vocelio.engine.voice import Voice
from vocelio.gateway.aio import cpu_executor
from vocelio.gateway.aio.cpu_executor import ASIDE, Aside
from vocelio.gateway.errors import (
    BadRequest,
    Conflict,
    Invalid,
    NotFound,
    Stale,
    TooLarge,
    TooMany,
    Unconditional,
)
from vocelio.gateway.model.tenant import Department
from vocelio.gateway.store.db.schema import flow_versions
from vocelio.gateway.store.db.schema import flows as flow_table
from vocelio.gateway.store.flows import diff, drafts, promotion, versions
from vocelio.gateway.store.flows.drafts import Pause
from vocelio.gateway.store.flows.promotion import Return
from vocelio.gateway.store.flows.versions import Pin
from vocelio.gateway.store.numbers import NewNumber, assign, create
from vocelio.gateway.store.tenants.departments import put as put_department


async def draft(database, actor, flow="front-desk", text="Good day.", seen=None, **parts):
    """Put a draft, whatever is there."""
    return await drafts.put(database, actor, flow, document(text, **parts), seen)


async def promoted(database, actor, flow="front-desk", text="Good day.", **parts):
    """Put a draft and promote it."""
    try:
        seen = (await drafts.show(database, actor.tenant, flow)).revision
    except NotFound:
        seen = None
    await draft(database, actor, flow, text, seen, **parts)
    return await promotion.promote(database, actor, flow, "")


async def load(database, flow, number, of="harbour"):
    async with database.reading() as connection:
        return await versions.load(connection, of, flow, number)


async def active(database, flow="front-desk", of="harbour"):
    return (await drafts.show(database, of, flow)).active


# Drafts


async def test_a_draft_comes_back_byte_for_byte_with_its_errors(database, actor):
    harbour = await tenant(database, actor)
    sent = b'{ "name": "Fr\xc3\xbcher",\n\t"nodes": 3, "nodes": {}, "big": 123456789012345678901234567890}'
    flow, new = await drafts.put(database, harbour, "front-desk", sent, None)
    kept = await drafts.show(database, "harbour", "front-desk")
    assert new
    assert bytes(kept.document) == sent
    assert (flow.name, flow.revision, flow.active, flow.pause) == ("Früher", 1, None, None)
    assert msgspec.json.decode(msgspec.json.encode(kept))["document"]["name"] == "Früher"


async def test_two_designers_cannot_overwrite_each_other(database, actor):
    harbour = await tenant(database, actor)
    await draft(database, harbour)
    with pytest.raises(Unconditional):
        await draft(database, harbour, text="One")
    changed, new = await draft(database, harbour, text="One", seen=1)
    assert (changed.revision, new) == (2, False)
    with pytest.raises(Stale, match="revision 2 by now, not 1"):
        await draft(database, harbour, text="Two", seen=1)
    both = (draft(database, harbour, text=text, seen=2) for text in ("Three", "Four"))
    done = await asyncio.gather(*both, return_exceptions=True)
    assert sorted(type(one).__name__ for one in done) == ["Stale", "tuple"]
    anything, _ = await draft(database, harbour, text="Five", seen=0)
    assert anything.revision == 4


async def test_two_who_make_the_same_flow_at_once(database, actor):
    harbour = await tenant(database, actor)
    both = (draft(database, harbour, text=text) for text in ("One", "Two"))
    done = await asyncio.gather(*both, return_exceptions=True)
    assert {type(one) for one in done} in ({tuple, Unconditional}, {tuple, Conflict})
    assert (await drafts.show(database, "harbour", "front-desk")).revision == 1


async def test_if_match_of_a_flow_that_is_not_there_is_stale(database, actor):
    harbour = await tenant(database, actor)
    for seen in (1, 0):
        with pytest.raises(Stale):
            await draft(database, harbour, seen=seen)


async def test_the_same_draft_again_changes_nothing(database, actor):
    harbour = await tenant(database, actor)
    await draft(database, harbour)
    same, new = await draft(database, harbour, seen=1)
    assert (same.revision, new) == (1, False)
    assert await actions(database) == [("flow.drafted", "front-desk")]


@pytest.mark.parametrize(
    ("sent", "error"),
    [
        (b"", BadRequest),
        (b"{", BadRequest),
        (b'{"name": "\xff"}', BadRequest),
        (b"[" * 100_000, BadRequest),
        (b"[]", Invalid),
        (b"null", Invalid),
        (b'{"a":' * 101 + b"1" + b"}" * 101, Invalid),
        (b'{"a":"' + b"x" * 500_000 + b'"}', TooLarge),
    ],
)
async def test_what_is_no_draft(database, actor, sent, error):
    harbour = await tenant(database, actor)
    with pytest.raises(error):
        await drafts.put(database, harbour, "front-desk", sent, None)
    assert await actions(database) == []


async def test_a_draft_as_deep_as_it_may_be_goes_everywhere(database, actor):
    harbour = await tenant(database, actor)
    await promoted(database, harbour)
    deep = b'{"a":' * 99 + b"{}" + b"}" * 99
    await drafts.put(database, harbour, "front-desk", deep, 1)
    assert not (await promotion.check(database, "harbour", "front-desk")).promotable
    assert (await diff.compare(database, "harbour", "front-desk", "active", "draft")).changes


async def test_a_flows_name_may_be_anything(database, actor):
    harbour = await tenant(database, actor)
    for place, (name, told) in enumerate([("N\0UL", "NUL"), ("x" * 300, "x" * 200), (7, "f2"), ("", "f3"), ("ü", "ü")]):
        flow, _ = await drafts.put(database, harbour, f"f{place}", json.dumps({"name": name}).encode(), None)
        assert flow.name == told
    with pytest.raises(Conflict):
        await draft(database, harbour, "schema")


async def test_flows_come_in_pages(database, actor):
    harbour = await tenant(database, actor)
    for name in "edcba":
        await draft(database, harbour, name)
    seen, cursor = [], ""
    for _ in range(3):
        page = await drafts.every(database, "harbour", 2, cursor)
        seen, cursor = [*seen, *(flow.flow for flow in page.items)], page.next
    assert (seen, cursor) == ([*"abcde"], "")


async def test_flows_are_bounded(database, actor):
    harbour = await tenant(database, actor)
    row = {"tenant_id": "harbour", "name": "", "draft": b"{}", "revision": 1, "created": 1, "changed": 1}
    await fill_up(database, flow_table, [row | {"id": f"f{place}"} for place in range(999)])
    await draft(database, harbour, "last")
    with pytest.raises(Conflict, match="Remove one first"):
        await draft(database, harbour, "one-more")
    await draft(database, harbour, "last", text="Changed", seen=1)


async def test_only_a_flow_that_was_never_promoted_can_be_removed(database, actor):
    harbour = await tenant(database, actor)
    await draft(database, harbour)
    with pytest.raises(Stale):
        await drafts.remove(database, harbour, "front-desk", 2)
    await drafts.remove(database, harbour, "front-desk", 1)
    with pytest.raises(NotFound):
        await drafts.show(database, "harbour", "front-desk")
    await promoted(database, harbour)
    with pytest.raises(Conflict, match="Pause it"):
        await drafts.remove(database, harbour, "front-desk", None)


# Promotion


async def test_a_promotion_makes_a_version_for_ever(database, actor):
    harbour = await tenant(database, actor)
    first = await promoted(database, harbour, text="One")
    assert (first.new, first.version.number, first.version.by, first.version.active) == (True, 1, "key1", True)
    await draft(database, harbour, text="Two", seen=1)
    two = actor(key="key2")
    second = await promotion.promote(database, two, "front-desk", "A new greeting")
    assert (second.version.number, second.version.note, second.version.at) == (2, "A new greeting", two.at)
    kept = await versions.show(database, "harbour", "front-desk", 1)
    assert b"One" in bytes(kept.document)
    assert not kept.active
    assert [version.number for version in (await versions.every(database, "harbour", "front-desk", 50, "")).items] == [
        2,
        1,
    ]
    assert (await trail(database))[-1] == (
        "flow.promoted",
        "front-desk",
        {"active": 1},
        {"active": 2, "content": second.version.content, "note": "A new greeting"},
    )


async def test_a_draft_with_errors_is_not_promoted_and_says_what_is_wrong(database, actor):
    harbour = await tenant(database, actor)
    await draft(database, harbour, start="nowhere", nodes={"a": {"type": "transfer", "department": "slaes"}})
    await put_department(database, harbour, "sales", Department(("+13105550111",)))
    checked = await promotion.check(database, "harbour", "front-desk")
    with pytest.raises(Invalid) as refused:
        await promotion.promote(database, harbour, "front-desk", "")
    assert refused.value.errors == checked.problems
    assert not checked.promotable
    found = {problem.path: problem for problem in checked.problems}
    assert found["nodes.a.department"].hint == "did you mean `sales`?"
    assert "start" in found
    assert await active(database) is None


async def test_warnings_do_not_hinder_and_are_told(database, actor):
    harbour = await tenant(database, actor)
    nodes = {"a": {"type": "hangup"}, "lost": {"type": "hangup"}}
    made = await promoted(database, harbour, start="a", nodes=nodes)
    assert [problem.severity for problem in made.warnings] == ["warning"]
    assert (await promotion.check(database, "harbour", "front-desk")).promotable


async def test_promoting_what_is_active_already_makes_no_other_version(database, actor):
    harbour = await tenant(database, actor)
    first = await promoted(database, harbour)
    again = await promotion.promote(database, harbour, "front-desk", "again")
    assert not again.new
    assert again.version == first.version
    assert len(await actions(database)) == 2


async def test_only_the_draft_that_was_seen_is_promoted(database, actor):
    harbour = await tenant(database, actor)
    await draft(database, harbour)
    with pytest.raises(Stale):
        await promotion.promote(database, harbour, "front-desk", "", 2)
    assert (await promotion.promote(database, harbour, "front-desk", "", 1)).new


async def test_promotions_at_once_give_one_version_and_never_a_broken_state(database, actor):
    harbour = await tenant(database, actor)
    await draft(database, harbour)
    done = await asyncio.gather(
        *(promotion.promote(database, actor(), "front-desk", str(place)) for place in range(6)), return_exceptions=True
    )
    assert sorted(one.new for one in done) == [False] * 5 + [True]
    assert {one.version.number for one in done} == {1}


async def test_promotions_of_changing_drafts_count_without_a_gap(database, actor):
    harbour = await tenant(database, actor)
    await draft(database, harbour)

    async def designer(place):
        for turn in range(3):
            seen = (await drafts.show(database, "harbour", "front-desk")).revision
            await draft(database, harbour, text=f"{place} {turn}", seen=seen)
            await promotion.promote(database, harbour, "front-desk", "")

    done = await asyncio.gather(*map(designer, range(4)), return_exceptions=True)
    assert {type(one) for one in done} <= {type(None), Stale, Conflict}
    async with database.reading() as connection:
        numbers = (await connection.scalars(select(flow_versions.c.number).order_by(flow_versions.c.number))).all()
    assert list(numbers) == list(range(1, len(numbers) + 1))
    assert await active(database) == len(numbers) > 0


async def test_a_draft_that_changes_while_it_is_checked_is_not_promoted(database, actor):
    harbour = await tenant(database, actor)
    await draft(database, harbour)
    free = threading.Event()
    busy = [asyncio.create_task(ASIDE.run(free.wait)) for _ in range(cpu_executor.AT_ONCE)]
    promotions = [asyncio.create_task(promotion.promote(database, harbour, "front-desk", "")) for _ in range(2)]
    async with asyncio.timeout(10):
        while ASIDE._threads._work_queue.qsize() < 2:  # noqa: ASYNC110 (until both have read the draft; nobody tells)
            await asyncio.sleep(0.01)
    await draft(database, harbour, text="Two", seen=1)
    free.set()
    await asyncio.gather(*busy)
    done = await asyncio.gather(*promotions, return_exceptions=True)
    assert [str(one) for one in done] == [
        "The draft was changed while it was checked. Look at it, and promote it again."
    ] * 2
    assert await active(database) is None


async def test_a_flow_without_a_voice_keeps_the_tenants_of_the_day_it_was_promoted(database, actor):
    voice = Voice("azure", "en-GB-SoniaNeural", "en-GB", 1.1, (Voice(language="en-GB"),))
    harbour = await tenant(database, actor, voice=voice)
    await promoted(database, harbour)
    kept = await versions.show(database, "harbour", "front-desk", 1)
    assert kept.voice == voice
    assert (await load(database, "front-desk", 1)).flow.voice == voice
    await promoted(database, harbour, voice={"tier": "local"})
    assert (await versions.show(database, "harbour", "front-desk", 2)).voice == Voice()


async def test_what_is_loaded_is_what_was_promoted(database, actor):
    harbour = await tenant(database, actor)
    await promoted(database, harbour, "inner", "Inner")
    await promoted(database, harbour, "middle", "Middle", calls=("inner", "inner@1"))
    made = await promoted(database, harbour, "outer", "Outer", calls=("middle", "inner"))
    kept = await versions.show(database, "harbour", "outer", 1)
    assert kept.subflows == {"middle": Pin("middle", 1), "inner": Pin("inner", 1)}
    await promoted(database, harbour, "inner", "Changed")
    loaded = await load(database, "outer", 1)
    assert loaded.id == made.version.content == kept.content
    assert loaded.subflows["inner"] is loaded.subflows["middle"].subflows["inner@1"]
    again = await promotion.promote(database, harbour, "outer", "with the new inner flow")
    assert again.new
    assert (await versions.show(database, "harbour", "outer", 2)).subflows["inner"] == Pin("inner", 2)
    assert (await load(database, "outer", 1)).id == loaded.id


@pytest.mark.parametrize(
    ("calls", "code", "hint"),
    [
        (["draft-only"], "no-such-flow", "promote `draft-only` first"),
        (["innner"], "no-such-flow", "did you mean `inner`?"),
        (["inner@7"], "no-such-flow", "its active version is 1"),
        (["inner@99999999999999999999"], "no-such-flow", "its active version is 1"),
        (["outer"], "subflow-circle", ""),
        (["caller"], "subflow-circle", ""),
    ],
)
async def test_flows_that_cannot_be_called(database, actor, calls, code, hint):
    harbour = await tenant(database, actor)
    await draft(database, harbour, "draft-only")
    await promoted(database, harbour, "inner")
    await promoted(database, harbour, "outer")
    await promoted(database, harbour, "caller", calls=["outer"])
    await draft(database, harbour, "outer", calls=calls, seen=1)
    (problem,) = (await promotion.check(database, "harbour", "outer")).problems
    assert (problem.path, problem.code, problem.hint) == ("nodes.call0.flow", code, hint)


async def test_how_much_a_flow_calls_is_bounded(database, actor):
    harbour = await tenant(database, actor)
    await promoted(database, harbour, "f0")
    for level in range(1, 5):  # 1, 3, 7, 15, 31 flows, each call counted
        made = await promoted(database, harbour, f"f{level}", calls=[f"f{level - 1}", f"f{level - 1}@1"])
        assert made.new
    await draft(database, harbour, "f5", calls=["f4", "f4@1"])
    assert [p.code for p in (await promotion.check(database, "harbour", "f5")).problems] == ["too-large"]
    with pytest.raises(Invalid):
        await promotion.promote(database, harbour, "f5", "")


async def test_a_draft_that_calls_a_thousand_versions_is_told_so(database, actor):
    harbour = await tenant(database, actor)
    await promoted(database, harbour, "inner")
    await draft(database, harbour, "outer", calls=[f"inner@{number}" for number in range(1, 1_500)])
    problems = (await promotion.check(database, "harbour", "outer")).problems
    assert [problem.code for problem in problems] == ["too-large"]


async def test_another_tenants_flows_are_not_there(database, actor):
    harbour, museum = await tenant(database, actor), await tenant(database, actor, "museum")
    await promoted(database, harbour)
    for refused in (
        drafts.show(database, "museum", "front-desk"),
        drafts.remove(database, museum, "front-desk", None),
        drafts.pause(database, museum, "front-desk", Pause()),
        drafts.resume(database, museum, "front-desk"),
        promotion.check(database, "museum", "front-desk"),
        promotion.promote(database, museum, "front-desk", ""),
        promotion.roll_back(database, museum, "front-desk", Return(1)),
        versions.every(database, "museum", "front-desk", 50, ""),
        versions.show(database, "museum", "front-desk", 1),
        load(database, "front-desk", 1, "museum"),
        diff.compare(database, "museum", "front-desk", "active", "draft"),
    ):
        with pytest.raises(NotFound):
            await refused
    assert (await drafts.every(database, "museum", 50, "")).items == []
    await draft(database, museum, "outer", calls=["front-desk"])
    (problem,) = (await promotion.check(database, "museum", "outer")).problems
    assert (problem.code, problem.hint) == ("no-such-flow", "")


async def test_checks_are_only_so_many_at_once_also_when_nobody_waits_for_them_any_more():
    some, free = Aside(waiting=2), threading.Event()
    given_up, waited_for = (asyncio.create_task(some.run(free.wait)) for _ in range(2))
    await asyncio.sleep(0)
    given_up.cancel()
    with pytest.raises(TooMany):
        await some.run(free.wait)
    free.set()
    assert await waited_for
    assert [await some.run(lambda: 1) for _ in range(10)] == [1] * 10


# Versions


async def test_versions_come_in_pages(database, actor):
    harbour = await tenant(database, actor)
    for number in range(5):
        await promoted(database, harbour, text=str(number))
    page = await versions.every(database, "harbour", "front-desk", 3, "")
    assert [version.number for version in page.items] == [5, 4, 3]
    assert [version.active for version in page.items] == [True, False, False]
    rest = await versions.every(database, "harbour", "front-desk", 3, page.next)
    assert ([version.number for version in rest.items], rest.next) == ([2, 1], "")
    beyond = await versions.every(database, "harbour", "front-desk", 3, "WzkyMjMzNzIwMzY4NTQ3NzU4MDdd")
    assert len(beyond.items) == 3
    for cursor in ("x", "WyJhIl0", "é"):
        with pytest.raises(Invalid):
            await versions.every(database, "harbour", "front-desk", 3, cursor)


async def test_what_a_promotion_would_change(database, actor):
    harbour = await tenant(database, actor)
    await draft(database, harbour, text="One")
    with pytest.raises(Conflict, match="never promoted"):
        await diff.compare(database, "harbour", "front-desk", "active", "draft")
    await promoted(database, harbour, text="One")
    assert (await diff.compare(database, "harbour", "front-desk", "active", "draft")).changes == []
    await promoted(database, harbour, text="Two")
    await draft(database, harbour, text="Three", seen=2)
    for sides, before, after in ((("1", "active"), "One", "Two"), (("2", "draft"), "Two", "Three")):
        found = await diff.compare(database, "harbour", "front-desk", *sides)
        (change,) = found.changes
        assert (change.path, change.before, change.after) == ("nodes.greet.text", before, after)
        assert found.summary == f'nodes.greet.text: "{before}" -> "{after}"'
    with pytest.raises(NotFound):
        await diff.compare(database, "harbour", "front-desk", "1", "3")


async def test_a_rollback_makes_an_older_version_active_and_leaves_the_draft(database, actor):
    harbour = await tenant(database, actor)
    for text in ("One", "Two"):
        await promoted(database, harbour, text=text)
    back = await promotion.roll_back(database, actor(), "front-desk", Return(1, "Two was wrong"))
    assert (back.number, back.active, await active(database)) == (1, True, 1)
    assert b"Two" in bytes((await drafts.show(database, "harbour", "front-desk")).document)
    action, _, before, after = (await trail(database))[-1]
    assert (action, before["active"], after["active"], after["note"]) == ("flow.rolled_back", 2, 1, "Two was wrong")
    await promotion.roll_back(database, actor(), "front-desk", Return(1))
    assert len(await actions(database)) == 5
    with pytest.raises(Invalid) as refused:
        await promotion.roll_back(database, actor(), "front-desk", Return(3))
    assert refused.value.errors[0].path == "version"
    third = await promotion.promote(database, actor(), "front-desk", "")
    assert third.version.number == 3


async def test_a_version_that_this_release_cannot_run_is_not_gone_back_to(database, actor):
    harbour = await tenant(database, actor)
    for text in ("One", "Two"):
        await promoted(database, harbour, text=text)
    async with database.writing() as connection:  # as if a later release had found an error in it
        await connection.execute(flow_versions.update().where(flow_versions.c.number == 1).values(document=b"{}"))
    with pytest.raises(Conflict, match="cannot run that version"):
        await promotion.roll_back(database, harbour, "front-desk", Return(1))
    assert await active(database) == 2


# Pause


async def test_pause_and_resume(database, actor):
    harbour = await tenant(database, actor)
    await draft(database, harbour)
    with pytest.raises(Conflict, match="never promoted"):
        await drafts.pause(database, harbour, "front-desk", Pause())
    await promoted(database, harbour)
    for how in (Pause(), Pause("Back at nine."), Pause("Back at nine."), Pause(forward="+13105550110")):
        assert (await drafts.pause(database, actor(), "front-desk", how)).pause == how
    for _ in range(2):
        assert (await drafts.resume(database, actor(), "front-desk")).pause is None
    done = (await trail(database))[3:]
    assert [line[0] for line in done] == ["flow.paused"] * 3 + ["flow.resumed"]
    assert done[1][3]["text"] == "Back at nine."
    with pytest.raises(Invalid):
        await drafts.pause(database, harbour, "front-desk", Pause("Text", "+13105550110"))


async def test_the_foreign_key_keeps_a_flow_whose_number_leads_to_it(database, actor):
    harbour = await tenant(database, actor)
    await promoted(database, harbour)
    await create(database, harbour, NewNumber("+13072249663"))
    await assign(database, harbour, "+13072249663", "front-desk")
    with pytest.raises(Conflict):
        await drafts.remove(database, harbour, "front-desk", None)
    async with database.reading() as connection:
        assert await connection.scalar(select(func.count()).select_from(flow_versions)) == 1
