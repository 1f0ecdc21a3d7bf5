"""The bounded queue: sizes, both policies of a full queue, and waking its consumer."""

import asyncio

import pytest

from vocelio.gateway.aio.bounded_queue import BoundedQueue


def test_put_drops_the_oldest_items_of_a_full_queue():
    queue = BoundedQueue(3)
    assert [list(queue.put(item)) for item in "abcde"] == [[], [], [], ["a"], ["b"]]
    assert (len(queue), queue.size, queue.take()) == (3, 3, ["c", "d", "e"])
    assert (len(queue), queue.size) == (0, 0)


def test_put_drops_as_many_items_as_the_size_of_the_new_one_requires():
    queue = BoundedQueue(10, len)
    for text in ("aaa", "bbb", "ccc"):
        assert not queue.put(text)
    assert queue.put("dddddd") == ["aaa", "bbb"]
    assert (queue.size, queue.take(1), queue.size) == (9, ["ccc"], 6)


def test_put_drops_an_item_that_is_larger_than_the_queue():
    queue = BoundedQueue(2, len)
    assert queue.put("aaa") == ["aaa"]
    assert (len(queue), queue.size) == (0, 0)


def test_try_put_refuses_what_does_not_fit():
    queue = BoundedQueue(4, len)
    assert [queue.try_put(text) for text in ("aaa", "bb", "b", "")] == [True, False, True, True]
    assert (queue.size, queue.take()) == (4, ["aaa", "b", ""])


def test_take_returns_at_most_what_is_queued():
    queue = BoundedQueue(5)
    queue.put(1)
    assert (queue.take(3), queue.take(3)) == ([1], [])


def test_clear_drops_everything():
    queue = BoundedQueue(5, len)
    queue.put("abc")
    queue.clear()
    assert (len(queue), queue.size) == (0, 0)
    with pytest.raises(IndexError):
        queue.popleft()


async def test_get_waits_for_an_item():
    queue = BoundedQueue(5)
    getting = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    queue.notify()
    await asyncio.sleep(0)
    assert not getting.done()
    queue.put("a")
    queue.put("b")
    assert await getting == "a"
    assert await queue.get() == "b"


async def test_wait_returns_on_put_and_on_notify():
    queue = BoundedQueue(5)
    for wake in (queue.notify, lambda: queue.put("a")):
        waiting = asyncio.create_task(queue.wait())
        await asyncio.sleep(0)
        assert not waiting.done()
        wake()
        await waiting
