"""What waits for a monitor is bounded, and what was thrown away is told."""

import json
import tracemalloc

import pytest

from vocelio.gateway.monitors.call_view import CallView, EventFilter
from vocelio.gateway.monitors.send_queue import MAX_QUEUED_BYTES, SendQueue

CALLS = [CallView(tenant="harbour", call=f"CA{number}") for number in range(3)]


async def test_first_a_snapshot_then_what_came():
    outbox = SendQueue(EventFilter(call="CA1"), lambda: CALLS, lambda: 5)
    outbox.put("one")
    first = json.loads(await outbox.get())
    assert (first["message"], first["first"], first["last"]) == ("snapshot", True, True)
    assert first["taken_at"] == "1970-01-01T00:00:00.000005Z"
    assert [call["call"] for call in first["calls"]] == ["CA1"]
    assert await outbox.get() == "one"


async def test_a_snapshot_of_nothing_is_one_too():
    outbox = SendQueue(EventFilter(), list, lambda: 5)
    assert json.loads(await outbox.get())["calls"] == []


async def test_too_much_is_a_gap_and_a_snapshot():
    outbox = SendQueue(EventFilter(), lambda: CALLS, lambda: 5)
    await outbox.get()
    for _ in range(3):
        outbox.put("x" * (MAX_QUEUED_BYTES // 2))
    outbox.put("what comes behind a gap is in the snapshot")
    assert outbox.blocked_since is not None
    assert await outbox.get() == '{"message":"gap"}'
    outbox.put("later")
    assert json.loads(await outbox.get())["first"] is True
    assert await outbox.get() == "later"


@pytest.mark.parametrize("letter", ["x", "ж", "漢", "😀"])
async def test_what_waits_is_bounded_in_bytes_whatever_is_written(letter):
    outbox = SendQueue(EventFilter(), list, lambda: 5)
    await outbox.get()
    tracemalloc.start()
    try:
        before, most = tracemalloc.get_traced_memory()[0], 0
        for number in range(5_000):
            outbox.put(f"{number:05}{letter}{'x' * 200}")
            most = max(most, tracemalloc.get_traced_memory()[0] - before)
    finally:
        tracemalloc.stop()
    assert outbox.blocked_since is not None
    assert MAX_QUEUED_BYTES / 2 < most < MAX_QUEUED_BYTES * 1.1


async def test_calls_with_long_texts_make_smaller_parts():
    many = [CallView(tenant="harbour", call=f"CA{number}", prompt="😀" * 5_000) for number in range(10)]
    outbox = SendQueue(EventFilter(), lambda: many, lambda: 5)
    parts = []
    while not parts or not parts[-1]["last"]:
        parts.append(json.loads(await outbox.get()))
    assert [(part["first"], len(part["calls"])) for part in parts] == [(True, 3), (False, 3), (False, 3), (False, 1)]
    assert [call["call"] for part in parts for call in part["calls"]] == [picture.call for picture in many]


async def test_a_gap_in_the_midst_of_a_snapshot_begins_a_new_one():
    many = [CallView(tenant="harbour", call=f"CA{number}") for number in range(150)]
    outbox = SendQueue(EventFilter(), lambda: many, lambda: 5)
    assert json.loads(await outbox.get())["last"] is False
    outbox.reset_with_gap()
    assert await outbox.get() == '{"message":"gap"}'
    assert json.loads(await outbox.get())["first"] is True
    assert json.loads(await outbox.get())["last"] is True
