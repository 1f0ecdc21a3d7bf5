"""Leased worker: concurrency, failures, polling, shutdown."""

import asyncio

import pytest

from tests.support.virtual_time import in_virtual_time
from vocelio.gateway.aio.leased_worker import FAILURE_PAUSE_SECONDS, POLL_INTERVAL_SECONDS, LeasedWorker
from vocelio.gateway.errors import DatabaseUnavailable

LEASE_SECONDS = 60


class FakeWorker(LeasedWorker[str]):
    """A worker whose queue is a list; a task takes one second, or forever, or fails."""

    def __init__(self, *due, concurrency=2):
        super().__init__("fake work", concurrency, LEASE_SECONDS)
        self.due, self.done, self.canceled, self.lease_times = list(due), [], [], []
        self.in_progress = self.max_in_progress = self.released = 0
        self.lease_error = None

    async def _lease_due(self, limit):
        self.lease_times.append(asyncio.get_running_loop().time())
        if self.lease_error:
            raise self.lease_error
        leased, self.due = self.due[:limit], self.due[limit:]
        return leased

    async def _process(self, task):
        self.in_progress += 1
        self.max_in_progress = max(self.max_in_progress, self.in_progress)
        try:
            if task.startswith("fail"):
                raise DatabaseUnavailable if task == "fail" else ValueError
            await asyncio.sleep(1_000 if task == "hang" else 1)
            self.done.append(task)
        except asyncio.CancelledError:
            self.canceled.append(task)
            raise
        finally:
            self.in_progress -= 1

    async def _release_leases(self):
        self.released += 1


@in_virtual_time
async def test_tasks_are_processed_in_order_up_to_the_concurrency():
    worker = FakeWorker(*"abcde")
    await worker.start()
    await asyncio.sleep(3.5)
    await worker.aclose()
    assert worker.done == list("abcde")
    assert worker.max_in_progress == 2


@in_virtual_time
async def test_due_tasks_are_polled_or_announced():
    worker = FakeWorker()
    await worker.start()
    await asyncio.sleep(0.5)
    worker.due = ["announced"]
    worker.notify()
    await asyncio.sleep(1.5)
    assert worker.done == ["announced"]
    worker.due = ["polled"]
    await asyncio.sleep(POLL_INTERVAL_SECONDS + 1.5)
    assert worker.done == ["announced", "polled"]
    await worker.aclose()


@pytest.mark.parametrize("error", [DatabaseUnavailable(), ValueError("a defect")])
@in_virtual_time
async def test_failed_lease_is_retried_at_the_next_poll(error):
    worker = FakeWorker("a")
    worker.lease_error = error
    await worker.start()
    await asyncio.sleep(0.5)
    worker.lease_error = None
    await asyncio.sleep(POLL_INTERVAL_SECONDS + 1)
    await worker.aclose()
    assert worker.done == ["a"]
    assert worker.lease_times[:2] == [0, POLL_INTERVAL_SECONDS]


@pytest.mark.parametrize("failing", ["fail", "fail with a defect"])
@in_virtual_time
async def test_failed_task_keeps_its_slot_for_a_while_and_ends_nothing(failing):
    worker = FakeWorker(failing, "b", "c")
    await worker.start()
    await asyncio.sleep(FAILURE_PAUSE_SECONDS - 1)
    assert worker.done == ["b", "c"]
    assert len(worker._in_progress) == 1
    await asyncio.sleep(1.5)
    assert not worker._in_progress
    await worker.aclose()


@in_virtual_time
async def test_task_is_canceled_when_its_lease_ends():
    worker = FakeWorker("hang")
    await worker.start()
    await asyncio.sleep(LEASE_SECONDS - 1)
    assert worker.canceled == []
    await asyncio.sleep(2)
    assert worker.canceled == ["hang"]
    await worker.aclose()


@in_virtual_time
async def test_aclose_cancels_tasks_and_releases_leases():
    worker = FakeWorker("hang", "hang")
    await worker.start()
    await asyncio.sleep(1)
    await worker.aclose()
    assert (worker.canceled, worker.released) == (["hang", "hang"], 1)
    assert len(asyncio.all_tasks()) == 1


@in_virtual_time
async def test_process_due_processes_one_after_another_and_raises_errors():
    worker = FakeWorker(*"abc")
    assert await worker.process_due(1) == 1
    assert await worker.process_due() == 2
    assert (worker.done, worker.max_in_progress) == (["a", "b", "c"], 1)
    worker.due = ["fail"]
    with pytest.raises(DatabaseUnavailable):
        await worker.process_due()
