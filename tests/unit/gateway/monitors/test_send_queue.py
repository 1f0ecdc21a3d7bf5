"""The send queue of a monitor: bounded memory, gaps and snapshots."""

import json
import tracemalloc

import pytest

from vocelio.gateway.monitors.call_view import CallView, EventFilter
from vocelio.gateway.monitors.send_queue import MAX_QUEUED_BYTES, SendQueue

CALLS = [CallView(tenant="harbour", call=f"CA{number}") for number in range(3)]


async def test_snapshot_precedes_queued_messages():
    queue = SendQueue(EventFilter(call="CA1"), lambda: CALLS, lambda: 5)
    queue.put("one")
    first = json.loads(await queue.get())
    assert (first["message"], first["first"], first["last"]) == ("snapshot", True, True)
    assert first["taken_at"] == "1970-01-01T00:00:00.000005Z"
    assert [call["call"] for call in first["calls"]] == ["CA1"]
    assert await queue.get() == "one"


async def test_empty_snapshot_is_sent():
    queue = SendQueue(EventFilter(), list, lambda: 5)
    assert json.loads(await queue.get())["calls"] == []


async def test_full_queue_is_replaced_by_a_gap_and_a_snapshot():
    queue = SendQueue(EventFilter(), lambda: CALLS, lambda: 5)
    await queue.get()
    for _ in range(3):
        queue.put("x" * (MAX_QUEUED_BYTES // 2))
    queue.put("what comes behind a gap is in the snapshot")
    assert queue.blocked_since is not None
    assert await queue.get() == '{"message":"gap"}'
    queue.put("later")
    assert json.loads(await queue.get())["first"] is True
    assert await queue.get() == "later"


@pytest.mark.parametrize("letter", ["x", "ж", "漢", "😀"])
async def test_queued_memory_is_bounded_for_any_alphabet(letter):
    queue = SendQueue(EventFilter(), list, lambda: 5)
    await queue.get()
    tracemalloc.start()
    try:
        before, most = tracemalloc.get_traced_memory()[0], 0
        for number in range(5_000):
            queue.put(f"{number:05}{letter}{'x' * 200}")
            most = max(most, tracemalloc.get_traced_memory()[0] - before)
    finally:
        tracemalloc.stop()
    assert queue.blocked_since is not None
    assert MAX_QUEUED_BYTES / 2 < most < MAX_QUEUED_BYTES * 1.1


async def test_snapshot_parts_are_bounded_in_bytes():
    views = [CallView(tenant="harbour", call=f"CA{number}", prompt="😀" * 5_000) for number in range(10)]
    queue = SendQueue(EventFilter(), lambda: views, lambda: 5)
    parts = []
    while not parts or not parts[-1]["last"]:
        parts.append(json.loads(await queue.get()))
    assert [(part["first"], len(part["calls"])) for part in parts] == [(True, 3), (False, 3), (False, 3), (False, 1)]
    assert [call["call"] for part in parts for call in part["calls"]] == [view.call for view in views]


async def test_gap_during_a_snapshot_starts_a_new_one():
    views = [CallView(tenant="harbour", call=f"CA{number}") for number in range(150)]
    queue = SendQueue(EventFilter(), lambda: views, lambda: 5)
    assert json.loads(await queue.get())["last"] is False
    queue.reset_with_gap()
    assert await queue.get() == '{"message":"gap"}'
    assert json.loads(await queue.get())["first"] is True
    assert json.loads(await queue.get())["last"] is True
