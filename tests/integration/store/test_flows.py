"""Flows: drafts with optimistic locking, immutable versions, promotion, diff, rollback and pause."""

import asyncio
import json
import threading

import msgspec
import pytest
from sqlalchemy import func, select

from tests.support.tenant_fixtures import audit_actions, audit_entries, create_tenant, flow_document, insert_rows
from vocelio.engine.voice import Voice
from vocelio.gateway.aio import tasks
from vocelio.gateway.aio.tasks import CPU_EXECUTOR, CpuExecutor
from vocelio.gateway.clock import encode_hook
from vocelio.gateway.errors import (
    AlreadyExists,
    BadRequest,
    Conflict,
    InputTooLarge,
    InvalidInput,
    NotFound,
    RateLimited,
    RevisionConflict,
    RevisionRequired,
)
from vocelio.gateway.model.tenant import Department
from vocelio.gateway.store.db.schema import flow_versions
from vocelio.gateway.store.db.schema import flows as flow_table
from vocelio.gateway.store.flows import drafts, promotion, versions
from vocelio.gateway.store.flows.drafts import PauseSettings
from vocelio.gateway.store.flows.promotion import RollbackRequest
from vocelio.gateway.store.flows.versions import VersionPin
from vocelio.gateway.store.numbers import NewNumber, assign_number, create_number
from vocelio.gateway.store.tenants.departments import put_department


async def put_draft(database, actor, flow="front-desk", text="Good day.", seen=None, **parts):
    """Put a draft."""
    return await drafts.put_flow(database, actor, flow, flow_document(text, **parts), seen)


async def put_and_promote(database, actor, flow="front-desk", text="Good day.", **parts):
    """Put a draft, whether or not the flow exists, and promote it."""
    try:
        seen = (await drafts.get_flow(database, actor.tenant, flow)).revision
    except NotFound:
        seen = None
    await put_draft(database, actor, flow, text, seen, **parts)
    return await promotion.promote_flow(database, actor, flow, "")


async def load_version(database, flow, number, of="harbour"):
    async with database.read() as connection:
        return await versions.load_version(connection, of, flow, number)


async def active_version(database, flow="front-desk", of="harbour"):
    return (await drafts.get_flow(database, of, flow)).active_version


# Drafts


async def test_draft_is_returned_byte_for_byte_even_with_errors(database, make_actor):
    harbour = await create_tenant(database, make_actor)
    sent = b'{ "name": "Fr\xc3\xbcher",\n\t"nodes": 3, "nodes": {}, "big": 123456789012345678901234567890}'
    flow, new = await drafts.put_flow(database, harbour, "front-desk", sent, None)
    stored = await drafts.get_flow(database, "harbour", "front-desk")
    assert new
    assert bytes(stored.document) == sent
    assert (flow.name, flow.revision, flow.active_version, flow.pause) == ("Früher", 1, None, None)
    assert msgspec.json.decode(msgspec.json.encode(stored, enc_hook=encode_hook))["document"]["name"] == "Früher"


async def test_draft_can_only_be_replaced_by_its_current_revision(database, make_actor):
    harbour = await create_tenant(database, make_actor)
    await put_draft(database, harbour)
    with pytest.raises(RevisionRequired):
        await put_draft(database, harbour, text="One")
    changed, new = await put_draft(database, harbour, text="One", seen=1)
    assert (changed.revision, new) == (2, False)
    with pytest.raises(RevisionConflict, match="revision 2, not 1"):
        await put_draft(database, harbour, text="Two", seen=1)
    both = (put_draft(database, harbour, text=text, seen=2) for text in ("Three", "Four"))
    done = await asyncio.gather(*both, return_exceptions=True)
    assert sorted(type(item).__name__ for item in done) == ["RevisionConflict", "tuple"]
    anything, _ = await put_draft(database, harbour, text="Five", seen=0)
    assert anything.revision == 4


async def test_flow_created_twice_concurrently_is_created_once(database, make_actor):
    harbour = await create_tenant(database, make_actor)
    requests = (put_draft(database, harbour, text=text) for text in ("One", "Two"))
    results = await asyncio.gather(*requests, return_exceptions=True)
    assert {type(item) for item in results} in ({tuple, RevisionRequired}, {tuple, AlreadyExists})
    assert (await drafts.get_flow(database, "harbour", "front-desk")).revision == 1


async def test_revision_of_a_missing_flow_is_rejected(database, make_actor):
    harbour = await create_tenant(database, make_actor)
    for seen in (1, 0):
        with pytest.raises(RevisionConflict):
            await put_draft(database, harbour, seen=seen)


async def test_identical_draft_changes_nothing(database, make_actor):
    harbour = await create_tenant(database, make_actor)
    await put_draft(database, harbour)
    same, new = await put_draft(database, harbour, seen=1)
    assert (same.revision, new) == (1, False)
    assert await audit_actions(database) == [("flow.draft_saved", "front-desk")]


@pytest.mark.parametrize(
    ("sent", "error"),
    [
        (b"", BadRequest),
        (b"{", BadRequest),
        (b'{"name": "\xff"}', BadRequest),
        (b"[" * 100_000, BadRequest),
        (b"[]", InvalidInput),
        (b"null", InvalidInput),
        (b'{"a":' * 101 + b"1" + b"}" * 101, InvalidInput),
        (b'{"a":"' + b"x" * 500_000 + b'"}', InputTooLarge),
    ],
)
async def test_invalid_draft_is_rejected(database, make_actor, sent, error):
    harbour = await create_tenant(database, make_actor)
    with pytest.raises(error):
        await drafts.put_flow(database, harbour, "front-desk", sent, None)
    assert await audit_actions(database) == []


async def test_draft_of_maximum_depth_can_be_validated_and_diffed(database, make_actor):
    harbour = await create_tenant(database, make_actor)
    await put_and_promote(database, harbour)
    deep = b'{"a":' * 99 + b"{}" + b"}" * 99
    await drafts.put_flow(database, harbour, "front-desk", deep, 1)
    assert not (await promotion.validate_draft(database, "harbour", "front-desk")).promotable
    assert (await promotion.diff_versions(database, "harbour", "front-desk", "active", "draft")).changes


async def test_flow_name_is_cleaned_and_falls_back_to_the_id(database, make_actor):
    harbour = await create_tenant(database, make_actor)
    for place, (name, expected) in enumerate(
        [("N\0UL", "NUL"), ("x" * 300, "x" * 200), (7, "f2"), ("", "f3"), ("ü", "ü")]
    ):
        flow, _ = await drafts.put_flow(database, harbour, f"f{place}", json.dumps({"name": name}).encode(), None)
        assert flow.name == expected
    with pytest.raises(Conflict):
        await put_draft(database, harbour, "schema")


async def test_flows_are_paginated(database, make_actor):
    harbour = await create_tenant(database, make_actor)
    for name in "edcba":
        await put_draft(database, harbour, name)
    seen, cursor = [], ""
    for _ in range(3):
        page = await drafts.list_flows(database, "harbour", 2, cursor)
        seen, cursor = [*seen, *(flow.id for flow in page.items)], page.next_cursor
    assert (seen, cursor) == ([*"abcde"], "")


async def test_number_of_flows_is_limited(database, make_actor):
    harbour = await create_tenant(database, make_actor)
    row = {"tenant_id": "harbour", "name": "", "draft": b"{}", "revision": 1, "created_at": 1, "updated_at": 1}
    await insert_rows(database, flow_table, [row | {"id": f"f{place}"} for place in range(999)])
    await put_draft(database, harbour, "last")
    with pytest.raises(Conflict, match="Delete one first"):
        await put_draft(database, harbour, "one-more")
    await put_draft(database, harbour, "last", text="Changed", seen=1)


async def test_only_a_flow_without_versions_can_be_deleted(database, make_actor):
    harbour = await create_tenant(database, make_actor)
    await put_draft(database, harbour)
    with pytest.raises(RevisionConflict):
        await drafts.delete_flow(database, harbour, "front-desk", 2)
    await drafts.delete_flow(database, harbour, "front-desk", 1)
    with pytest.raises(NotFound):
        await drafts.get_flow(database, "harbour", "front-desk")
    await put_and_promote(database, harbour)
    with pytest.raises(Conflict, match="Pause it"):
        await drafts.delete_flow(database, harbour, "front-desk", None)


# Promotion


async def test_promotion_makes_an_immutable_version(database, make_actor):
    harbour = await create_tenant(database, make_actor)
    first = await put_and_promote(database, harbour, text="One")
    assert (first.new, first.version.number, first.version.promoted_by, first.version.active) == (True, 1, "key1", True)
    await put_draft(database, harbour, text="Two", seen=1)
    two = make_actor(key="key2")
    second = await promotion.promote_flow(database, two, "front-desk", "A new greeting")
    assert (second.version.number, second.version.note, second.version.promoted_at) == (2, "A new greeting", two.now)
    stored = await versions.get_version(database, "harbour", "front-desk", 1)
    assert b"One" in bytes(stored.document)
    assert not stored.active
    assert [
        version.number for version in (await versions.list_versions(database, "harbour", "front-desk", 50, "")).items
    ] == [
        2,
        1,
    ]
    assert (await audit_entries(database))[-1] == (
        "flow.promoted",
        "front-desk",
        {"active_version": 1},
        {"active_version": 2, "content_hash": second.version.content_hash, "note": "A new greeting"},
    )


async def test_draft_with_errors_is_not_promoted_and_reports_diagnostics(database, make_actor):
    harbour = await create_tenant(database, make_actor)
    await put_draft(database, harbour, start="nowhere", nodes={"a": {"type": "transfer", "department": "slaes"}})
    await put_department(database, harbour, "sales", Department(("+13105550111",)))
    checked = await promotion.validate_draft(database, "harbour", "front-desk")
    with pytest.raises(InvalidInput) as refused:
        await promotion.promote_flow(database, harbour, "front-desk", "")
    assert refused.value.errors == checked.diagnostics
    assert not checked.promotable
    matches = {problem.path: problem for problem in checked.diagnostics}
    assert matches["nodes.a.department"].hint == "did you mean `sales`?"
    assert "start" in matches
    assert await active_version(database) is None


async def test_warnings_are_reported_but_do_not_prevent_promotion(database, make_actor):
    harbour = await create_tenant(database, make_actor)
    nodes = {"a": {"type": "hangup"}, "lost": {"type": "hangup"}}
    promoted = await put_and_promote(database, harbour, start="a", nodes=nodes)
    assert [problem.severity for problem in promoted.warnings] == ["warning"]
    assert (await promotion.validate_draft(database, "harbour", "front-desk")).promotable


async def test_promoting_the_active_version_again_makes_no_new_version(database, make_actor):
    harbour = await create_tenant(database, make_actor)
    first = await put_and_promote(database, harbour)
    again = await promotion.promote_flow(database, harbour, "front-desk", "again")
    assert not again.new
    assert again.version == first.version
    assert len(await audit_actions(database)) == 2


async def test_promotion_of_an_outdated_revision_is_rejected(database, make_actor):
    harbour = await create_tenant(database, make_actor)
    await put_draft(database, harbour)
    with pytest.raises(RevisionConflict):
        await promotion.promote_flow(database, harbour, "front-desk", "", 2)
    assert (await promotion.promote_flow(database, harbour, "front-desk", "", 1)).new


async def test_concurrent_promotions_make_one_version(database, make_actor):
    harbour = await create_tenant(database, make_actor)
    await put_draft(database, harbour)
    done = await asyncio.gather(
        *(promotion.promote_flow(database, make_actor(), "front-desk", str(place)) for place in range(6)),
        return_exceptions=True,
    )
    assert sorted(item.new for item in done) == [False] * 5 + [True]
    assert {item.version.number for item in done} == {1}


async def test_version_numbers_have_no_gaps_under_concurrent_promotions(database, make_actor):
    harbour = await create_tenant(database, make_actor)
    await put_draft(database, harbour)

    async def designer(place):
        for turn in range(3):
            seen = (await drafts.get_flow(database, "harbour", "front-desk")).revision
            await put_draft(database, harbour, text=f"{place} {turn}", seen=seen)
            await promotion.promote_flow(database, harbour, "front-desk", "")

    done = await asyncio.gather(*map(designer, range(4)), return_exceptions=True)
    assert {type(item) for item in done} <= {type(None), RevisionConflict, Conflict}
    async with database.read() as connection:
        numbers = (await connection.scalars(select(flow_versions.c.number).order_by(flow_versions.c.number))).all()
    assert list(numbers) == list(range(1, len(numbers) + 1))
    assert await active_version(database) == len(numbers) > 0


async def test_draft_that_changes_during_validation_is_not_promoted(database, make_actor):
    harbour = await create_tenant(database, make_actor)
    await put_draft(database, harbour)
    free = threading.Event()
    busy = [asyncio.create_task(CPU_EXECUTOR.run(free.wait)) for _ in range(tasks.MAX_THREADS)]
    promotions = [asyncio.create_task(promotion.promote_flow(database, harbour, "front-desk", "")) for _ in range(2)]
    async with asyncio.timeout(10):
        while CPU_EXECUTOR._executor._work_queue.qsize() < 2:  # noqa: ASYNC110 (until both have read the draft; nobody tells)
            await asyncio.sleep(0.01)
    await put_draft(database, harbour, text="Two", seen=1)
    free.set()
    await asyncio.gather(*busy)
    done = await asyncio.gather(*promotions, return_exceptions=True)
    assert [str(item) for item in done] == ["The draft changed during validation. Review it and promote again."] * 2
    assert await active_version(database) is None


async def test_version_without_a_voice_gets_the_tenants_at_promotion(database, make_actor):
    voice = Voice("azure", "en-GB-SoniaNeural", "en-GB", 1.1, (Voice(language="en-GB"),))
    harbour = await create_tenant(database, make_actor, voice=voice)
    await put_and_promote(database, harbour)
    version = await versions.get_version(database, "harbour", "front-desk", 1)
    assert version.voice == voice
    assert (await load_version(database, "front-desk", 1)).flow.voice == voice
    await put_and_promote(database, harbour, voice={"tier": "local"})
    assert (await versions.get_version(database, "harbour", "front-desk", 2)).voice == Voice()


async def test_loaded_version_keeps_its_pinned_subflows(database, make_actor):
    harbour = await create_tenant(database, make_actor)
    await put_and_promote(database, harbour, "inner", "Inner")
    await put_and_promote(database, harbour, "middle", "Middle", calls=("inner", "inner@1"))
    promoted = await put_and_promote(database, harbour, "outer", "Outer", calls=("middle", "inner"))
    stored = await versions.get_version(database, "harbour", "outer", 1)
    assert stored.subflows == {"middle": VersionPin("middle", 1), "inner": VersionPin("inner", 1)}
    await put_and_promote(database, harbour, "inner", "Changed")
    loaded = await load_version(database, "outer", 1)
    assert loaded.id == promoted.version.content_hash == stored.content_hash
    assert loaded.subflows["inner"] is loaded.subflows["middle"].subflows["inner@1"]
    again = await promotion.promote_flow(database, harbour, "outer", "with the new inner flow")
    assert again.new
    assert (await versions.get_version(database, "harbour", "outer", 2)).subflows["inner"] == VersionPin("inner", 2)
    assert (await load_version(database, "outer", 1)).id == loaded.id


@pytest.mark.parametrize(
    ("calls", "code", "hint"),
    [
        (["draft-only"], "no-such-flow", "promote `draft-only` first"),
        (["innner"], "no-such-flow", "did you mean `inner`?"),
        (["inner@7"], "no-such-flow", "its active version is 1"),
        (["inner@99999999999999999999"], "no-such-flow", "its active version is 1"),
        (["outer"], "subflow-cycle", ""),
        (["caller"], "subflow-cycle", ""),
    ],
)
async def test_invalid_subflow_references_are_diagnosed(database, make_actor, calls, code, hint):
    harbour = await create_tenant(database, make_actor)
    await put_draft(database, harbour, "draft-only")
    await put_and_promote(database, harbour, "inner")
    await put_and_promote(database, harbour, "outer")
    await put_and_promote(database, harbour, "caller", calls=["outer"])
    await put_draft(database, harbour, "outer", calls=calls, seen=1)
    (problem,) = (await promotion.validate_draft(database, "harbour", "outer")).diagnostics
    assert (problem.path, problem.code, problem.hint) == ("nodes.call0.flow", code, hint)


async def test_number_of_called_flows_is_limited(database, make_actor):
    harbour = await create_tenant(database, make_actor)
    await put_and_promote(database, harbour, "f0")
    for level in range(1, 5):  # 1, 3, 7, 15, 31 flows, each call counted
        promoted = await put_and_promote(database, harbour, f"f{level}", calls=[f"f{level - 1}", f"f{level - 1}@1"])
        assert promoted.new
    await put_draft(database, harbour, "f5", calls=["f4", "f4@1"])
    assert [p.code for p in (await promotion.validate_draft(database, "harbour", "f5")).diagnostics] == ["too-large"]
    with pytest.raises(InvalidInput):
        await promotion.promote_flow(database, harbour, "f5", "")


async def test_draft_that_calls_thousands_of_versions_is_too_large(database, make_actor):
    harbour = await create_tenant(database, make_actor)
    await put_and_promote(database, harbour, "inner")
    await put_draft(database, harbour, "outer", calls=[f"inner@{number}" for number in range(1, 1_500)])
    problems = (await promotion.validate_draft(database, "harbour", "outer")).diagnostics
    assert [problem.code for problem in problems] == ["too-large"]


async def test_flow_of_another_tenant_is_not_found(database, make_actor):
    harbour, museum = await create_tenant(database, make_actor), await create_tenant(database, make_actor, "museum")
    await put_and_promote(database, harbour)
    for refused in (
        drafts.get_flow(database, "museum", "front-desk"),
        drafts.delete_flow(database, museum, "front-desk", None),
        drafts.pause_flow(database, museum, "front-desk", PauseSettings()),
        drafts.resume_flow(database, museum, "front-desk"),
        promotion.validate_draft(database, "museum", "front-desk"),
        promotion.promote_flow(database, museum, "front-desk", ""),
        promotion.rollback_flow(database, museum, "front-desk", RollbackRequest(1)),
        versions.list_versions(database, "museum", "front-desk", 50, ""),
        versions.get_version(database, "museum", "front-desk", 1),
        load_version(database, "front-desk", 1, "museum"),
        promotion.diff_versions(database, "museum", "front-desk", "active", "draft"),
    ):
        with pytest.raises(NotFound):
            await refused
    assert (await drafts.list_flows(database, "museum", 50, "")).items == []
    await put_draft(database, museum, "outer", calls=["front-desk"])
    (problem,) = (await promotion.validate_draft(database, "museum", "outer")).diagnostics
    assert (problem.code, problem.hint) == ("no-such-flow", "")


async def test_cpu_executor_limits_pending_work_including_abandoned_work():
    some, free = CpuExecutor(max_pending=2), threading.Event()
    given_up, waited_for = (asyncio.create_task(some.run(free.wait)) for _ in range(2))
    await asyncio.sleep(0)
    given_up.cancel()
    with pytest.raises(RateLimited):
        await some.run(free.wait)
    free.set()
    assert await waited_for
    assert [await some.run(lambda: 1) for _ in range(10)] == [1] * 10


# Versions


async def test_versions_are_paginated(database, make_actor):
    harbour = await create_tenant(database, make_actor)
    for number in range(5):
        await put_and_promote(database, harbour, text=str(number))
    page = await versions.list_versions(database, "harbour", "front-desk", 3, "")
    assert [version.number for version in page.items] == [5, 4, 3]
    assert [version.active for version in page.items] == [True, False, False]
    rest = await versions.list_versions(database, "harbour", "front-desk", 3, page.next_cursor)
    assert ([version.number for version in rest.items], rest.next_cursor) == ([2, 1], "")
    beyond = await versions.list_versions(database, "harbour", "front-desk", 3, "WzkyMjMzNzIwMzY4NTQ3NzU4MDdd")
    assert len(beyond.items) == 3
    for cursor in ("x", "WyJhIl0", "é"):
        with pytest.raises(InvalidInput):
            await versions.list_versions(database, "harbour", "front-desk", 3, cursor)


async def test_diff_between_versions_and_draft(database, make_actor):
    harbour = await create_tenant(database, make_actor)
    await put_draft(database, harbour, text="One")
    with pytest.raises(Conflict, match="never promoted"):
        await promotion.diff_versions(database, "harbour", "front-desk", "active", "draft")
    await put_and_promote(database, harbour, text="One")
    assert (await promotion.diff_versions(database, "harbour", "front-desk", "active", "draft")).changes == []
    await put_and_promote(database, harbour, text="Two")
    await put_draft(database, harbour, text="Three", seen=2)
    for sides, before, after in ((("1", "active"), "One", "Two"), (("2", "draft"), "Two", "Three")):
        result = await promotion.diff_versions(database, "harbour", "front-desk", *sides)
        (change,) = result.changes
        assert (change.path, change.before, change.after) == ("nodes.greet.text", before, after)
        assert result.summary == f'nodes.greet.text: "{before}" -> "{after}"'
    with pytest.raises(NotFound):
        await promotion.diff_versions(database, "harbour", "front-desk", "1", "3")


async def test_rollback_activates_an_older_version_and_keeps_the_draft(database, make_actor):
    harbour = await create_tenant(database, make_actor)
    for text in ("One", "Two"):
        await put_and_promote(database, harbour, text=text)
    version = await promotion.rollback_flow(database, make_actor(), "front-desk", RollbackRequest(1, "Two was wrong"))
    assert (version.number, version.active, await active_version(database)) == (1, True, 1)
    assert b"Two" in bytes((await drafts.get_flow(database, "harbour", "front-desk")).document)
    action, _, before, after = (await audit_entries(database))[-1]
    assert (action, before["active_version"], after["active_version"], after["note"]) == (
        "flow.rolled_back",
        2,
        1,
        "Two was wrong",
    )
    await promotion.rollback_flow(database, make_actor(), "front-desk", RollbackRequest(1))
    assert len(await audit_actions(database)) == 5
    with pytest.raises(InvalidInput) as refused:
        await promotion.rollback_flow(database, make_actor(), "front-desk", RollbackRequest(3))
    assert refused.value.errors[0].path == "version"
    third = await promotion.promote_flow(database, make_actor(), "front-desk", "")
    assert third.version.number == 3


async def test_rollback_to_an_unusable_version_is_rejected(database, make_actor):
    harbour = await create_tenant(database, make_actor)
    for text in ("One", "Two"):
        await put_and_promote(database, harbour, text=text)
    async with database.transaction() as connection:  # as if a later release had found an error in it
        await connection.execute(flow_versions.update().where(flow_versions.c.number == 1).values(document=b"{}"))
    with pytest.raises(Conflict, match="cannot be run any more"):
        await promotion.rollback_flow(database, harbour, "front-desk", RollbackRequest(1))
    assert await active_version(database) == 2


# Pause


async def test_pause_and_resume(database, make_actor):
    harbour = await create_tenant(database, make_actor)
    await put_draft(database, harbour)
    with pytest.raises(Conflict, match="never promoted"):
        await drafts.pause_flow(database, harbour, "front-desk", PauseSettings())
    await put_and_promote(database, harbour)
    for how in (
        PauseSettings(),
        PauseSettings("Back at nine."),
        PauseSettings("Back at nine."),
        PauseSettings(forward_to="+13105550110"),
    ):
        assert (await drafts.pause_flow(database, make_actor(), "front-desk", how)).pause == how
    for _ in range(2):
        assert (await drafts.resume_flow(database, make_actor(), "front-desk")).pause is None
    done = (await audit_entries(database))[3:]
    assert [line[0] for line in done] == ["flow.paused"] * 3 + ["flow.resumed"]
    assert done[1][3]["message"] == "Back at nine."
    with pytest.raises(InvalidInput):
        await drafts.pause_flow(database, harbour, "front-desk", PauseSettings("Text", "+13105550110"))


async def test_assigned_flow_cannot_be_deleted(database, make_actor):
    harbour = await create_tenant(database, make_actor)
    await put_and_promote(database, harbour)
    await create_number(database, harbour, NewNumber("+13072249663"))
    await assign_number(database, harbour, "+13072249663", "front-desk")
    with pytest.raises(Conflict):
        await drafts.delete_flow(database, harbour, "front-desk", None)
    async with database.read() as connection:
        assert await connection.scalar(select(func.count()).select_from(flow_versions)) == 1
