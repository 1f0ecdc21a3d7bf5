"""What waits for a monitor is bounded, and what was thrown away is told."""

import json
import tracemalloc

import pytest

from vocelio.gateway.monitors.call_view import Picture
from vocelio.gateway.monitors.event_filter import Wanted
from vocelio.gateway.monitors.send_queue import MAX_UNSENT, Outbox

CALLS = [Picture(tenant="harbour", call=f"CA{number}") for number in range(3)]


async def test_first_a_snapshot_then_what_came():
    outbox = Outbox(Wanted(call="CA1"), lambda: CALLS, lambda: 5)
    outbox.put("one")
    first = json.loads(await outbox.take())
    assert (first["message"], first["at"], first["first"], first["last"]) == ("snapshot", 5, True, True)
    assert [call["call"] for call in first["calls"]] == ["CA1"]
    assert await outbox.take() == "one"


async def test_a_snapshot_of_nothing_is_one_too():
    outbox = Outbox(Wanted(), list, lambda: 5)
    assert json.loads(await outbox.take())["calls"] == []


async def test_too_much_is_a_gap_and_a_snapshot():
    outbox = Outbox(Wanted(), lambda: CALLS, lambda: 5)
    await outbox.take()
    for _ in range(3):
        outbox.put("x" * (MAX_UNSENT // 2))
    outbox.put("what comes behind a gap is in the snapshot")
    assert outbox.behind is not None
    assert await outbox.take() == '{"message":"gap"}'
    outbox.put("later")
    assert json.loads(await outbox.take())["first"] is True
    assert await outbox.take() == "later"


@pytest.mark.parametrize("letter", ["x", "ж", "漢", "😀"])
async def test_what_waits_is_bounded_in_bytes_whatever_is_written(letter):
    outbox = Outbox(Wanted(), list, lambda: 5)
    await outbox.take()
    tracemalloc.start()
    try:
        before, most = tracemalloc.get_traced_memory()[0], 0
        for number in range(5_000):
            outbox.put(f"{number:05}{letter}{'x' * 200}")
            most = max(most, tracemalloc.get_traced_memory()[0] - before)
    finally:
        tracemalloc.stop()
    assert outbox.behind is not None
    assert MAX_UNSENT / 2 < most < MAX_UNSENT * 1.1


async def test_calls_with_long_texts_make_smaller_parts():
    many = [Picture(tenant="harbour", call=f"CA{number}", said="😀" * 5_000) for number in range(10)]
    outbox = Outbox(Wanted(), lambda: many, lambda: 5)
    parts = []
    while not parts or not parts[-1]["last"]:
        parts.append(json.loads(await outbox.take()))
    assert [(part["first"], len(part["calls"])) for part in parts] == [(True, 3), (False, 3), (False, 3), (False, 1)]
    assert [call["call"] for part in parts for call in part["calls"]] == [picture.call for picture in many]


async def test_a_gap_in_the_midst_of_a_snapshot_begins_a_new_one():
    many = [Picture(tenant="harbour", call=f"CA{number}") for number in range(150)]
    outbox = Outbox(Wanted(), lambda: many, lambda: 5)
    assert json.loads(await outbox.take())["last"] is False
    outbox.lose()
    assert await outbox.take() == '{"message":"gap"}'
    assert json.loads(await outbox.take())["first"] is True
    assert json.loads(await outbox.take())["last"] is True
