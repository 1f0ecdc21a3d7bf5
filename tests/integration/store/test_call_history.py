"""Call history: filters, pagination, and one call with its timeline, bill and log."""

import pytest
from msgspec import ValidationError, convert
from msgspec.structs import replace

from tests.integration.conftest import NOW
from tests.support.generated_calls import DAY, TODAY, insert_calls, make_call, make_random_call, new_rng
from vocelio.gateway.errors import InvalidInput, NotFound
from vocelio.gateway.store.calls import history
from vocelio.gateway.store.calls.history import CallQuery, TimelineEvent, TimelineQuery
from vocelio.gateway.store.calls.interface import Segment
from vocelio.gateway.store.db import pagination


def call_id(place=1):
    return f"CA{place:032x}"


async def find_call_ids(database, search, tenant="harbour"):
    """The ids of the matching calls on all pages."""
    ids = []
    while True:
        page = await history.list_calls(database, tenant, search)
        ids += [call.id for call in page.items]
        assert len(page.items) <= search.limit
        if not page.next_cursor:
            return ids
        search = replace(search, cursor=page.next_cursor)


SEARCHES = [
    (CallQuery(), lambda row: True),
    (CallQuery(status="live"), lambda row: row["ended_at"] is None),
    (CallQuery(status="ended"), lambda row: row["ended_at"] is not None),
    (CallQuery(flow="night"), lambda row: row["flow_id"] == "night"),
    (CallQuery(number="+13072249661"), lambda row: row["number"] == "+13072249661"),
    (CallQuery(outcome="abandoned"), lambda row: row["outcome"] == "abandoned"),
    (CallQuery(caller="+13105550142"), lambda row: True),
    (CallQuery(caller="+13105550143"), lambda row: False),
    (CallQuery(since=TODAY - DAY, until=TODAY), lambda row: TODAY - DAY <= row["started_at"] < TODAY),
    (
        CallQuery(flow="survey", outcome="lost", status="ended", since=TODAY - 5 * DAY),
        lambda row: row["flow_id"] == "survey" and row["outcome"] == "lost" and row["started_at"] >= TODAY - 5 * DAY,
    ),
]


async def test_filters_find_what_a_loop_finds_newest_first_at_any_page_size(database):
    rng = new_rng(5)
    all_calls = [make_random_call(place, rng, ("harbour", "depot")[place % 3 == 0]) for place in range(150)]
    all_calls += [make_call(1_000 + place, started_at=TODAY) for place in range(8)]  # at the same instant
    await insert_calls(database, *all_calls)
    rows = sorted(
        (item.row for item in all_calls if item.tenant == "harbour"), key=lambda row: (row["started_at"], row["id"])
    )
    for search, matches in SEARCHES:
        expected = [row["id"] for row in reversed(rows) if matches(row)]
        for limit in (1, 7, len(expected) or 1, 200):
            if limit == 1 and len(expected) > 20:
                continue
            assert await find_call_ids(database, replace(search, limit=limit)) == expected


async def test_new_call_does_not_shift_following_pages(database):
    await insert_calls(database, *(make_call(place, started_at=NOW + place) for place in range(4)))
    first = await history.list_calls(database, "harbour", CallQuery(limit=2))
    await insert_calls(database, make_call(9, started_at=NOW + 9), known=["harbour"])
    second = await history.list_calls(database, "harbour", CallQuery(limit=2, cursor=first.next_cursor))
    assert [call.id for call in (*first.items, *second.items)] == [call_id(3), call_id(2), call_id(1), call_id(0)]


async def test_summary_has_all_fields_of_the_call(database):
    segments = [("azure", 61_500_000)]
    await insert_calls(
        database, make_call(segments=segments, disposition="sold", department="sales", outcome="transferred")
    )
    (call,) = (await history.list_calls(database, "harbour", CallQuery())).items
    assert call == history.CallSummary(
        id=call_id(),
        number="+13072249663",
        caller="+13105550142",
        flow="front-desk",
        version=3,
        started_at=NOW,
        ended_at=NOW + 60_000_000,
        outcome="transferred",
        disposition="sold",
        department="sales",
        billed_microseconds=61_500_000,
        billed_seconds=61.5,
        cost_micro_usd=82_000,
        generation=1,
    )


async def test_detail_has_the_bill_and_all_events_in_order(database):
    events = [("transcript.final", NOW + at, {"node": "ask", "text": "sales", "confidence": 0.93}) for at in range(250)]
    await insert_calls(database, make_call(events=events, segments=[("local", 7), ("azure", 60_000_000)]))
    detail = await history.get_call_detail(database, "harbour", call_id(), TimelineQuery())
    assert detail.segments == [Segment("local", 7, 0, 0), Segment("azure", 60_000_000, 80_000, 80_000)]
    expected = [
        TimelineEvent(1 + at // 100, 1 + at % 100, kind, when, data) for at, (kind, when, data) in enumerate(events)
    ]
    assert (detail.events, detail.next_cursor, detail.id) == (expected, "", call_id())
    parts, page = [], TimelineQuery(limit=90)
    while True:
        part = await history.get_call_detail(database, "harbour", call_id(), page)
        parts.append(part.events)
        if not part.next_cursor:
            break
        page = TimelineQuery(90, part.next_cursor)
    assert [len(events_of_part) for events_of_part in parts] == [90, 90, 70]
    assert [event for events_of_part in parts for event in events_of_part] == expected


async def test_log_is_returned_as_it_was_written(database):
    log = b'{"log":"vocelio call 1"}\n' + new_rng(1).randbytes(200_000)
    await insert_calls(database, make_call(log=log), make_call(2))
    assert await history.get_call_log(database, "harbour", call_id()) == log
    with pytest.raises(NotFound):
        await history.get_call_log(database, "harbour", call_id(2))


async def test_call_of_another_tenant_is_not_found(database):
    await insert_calls(
        database, make_call(1), make_call(2, tenant="depot", log=b"canary\n", events=[("dtmf.received", NOW, {})])
    )
    for call in (call_id(2), call_id(3)):
        with pytest.raises(NotFound):
            await history.get_call(database, "harbour", call)
        with pytest.raises(NotFound):
            await history.get_call_detail(database, "harbour", call, TimelineQuery())
        with pytest.raises(NotFound):
            await history.get_call_log(database, "harbour", call)
    assert await find_call_ids(database, CallQuery()) == [call_id(1)]


async def test_call_with_the_same_id_at_another_tenant_adds_nothing(database):
    await insert_calls(
        database, make_call(1), make_call(1, tenant="depot", log=b"x", segments=[("azure", 5)], events=[("x", NOW, {})])
    )
    detail = await history.get_call_detail(database, "harbour", call_id(), TimelineQuery())
    assert (detail.segments, detail.events) == ([], [])


CURSORS = ["x", "é", "bm9uZQ", pagination.make_page([1, 2], 1, str, lambda row: ("a", "b")).next_cursor, "!" * 500]


@pytest.mark.parametrize("cursor", CURSORS)
async def test_foreign_cursor_is_rejected(database, cursor):
    await insert_calls(database, make_call(1))
    with pytest.raises(InvalidInput):
        await history.list_calls(database, "harbour", CallQuery(cursor=cursor))
    with pytest.raises(InvalidInput):
        await history.get_call_detail(database, "harbour", call_id(), TimelineQuery(cursor=cursor))


async def test_cursor_past_the_end_returns_an_empty_page(database):
    await insert_calls(database, make_call(1, events=[("dtmf.received", NOW, {})]))
    far = pagination.make_page([1, 2], 1, str, lambda row: (2**62, 2**62)).next_cursor
    assert (await history.get_call_detail(database, "harbour", call_id(), TimelineQuery(cursor=far))).events == []


@pytest.mark.parametrize(
    "query",
    [{"limit": 0}, {"limit": 201}, {"outcome": "fine"}, {"number": "911"}, {"since": -1}, {"flow": "a\n"}, {"x": 1}],
)
def test_what_cannot_be_searched_for(query):
    with pytest.raises(ValidationError):
        convert(query, CallQuery)
