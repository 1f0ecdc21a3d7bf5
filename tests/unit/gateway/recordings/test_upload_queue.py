"""Jobs beside the calls: again until they are done, never more than the bound, gone when there is nothing to do."""

import asyncio
import json
import logging

from tests.support.virtual_time import in_virtual_time
from vocelio.gateway import logs
from vocelio.gateway.errors import DatabaseUnavailable
from vocelio.gateway.recordings.upload_queue import RetryQueue

LOGGER = logging.getLogger(__name__)


class FakeJob:
    """Takes a second; fails as often as it is told."""

    def __init__(self, size=1, failures=0, defect=False):
        self.size, self.failures, self.defect = size, failures, defect
        self.done, self.problem = 0, ""

    async def run(self):
        await asyncio.sleep(1)
        if self.defect:
            raise KeyError("a defect")
        if self.failures:
            self.failures -= 1
            raise DatabaseUnavailable
        self.done += 1

    def on_dropped(self, problem):
        self.problem = problem


class ResubmittingJob(FakeJob):
    """Says what becomes of it, with a number in it."""

    async def run(self):
        LOGGER.warning("%s runs for +13072249663", self.size)
        await super().run()

    def on_dropped(self, problem):
        LOGGER.warning("%s is dropped for +13072249663", self.size)


@in_virtual_time
async def test_so_many_at_once_and_no_more():
    lane, jobs = RetryQueue("test", 2, 100), [FakeJob() for _ in range(6)]
    for job in jobs:
        lane.submit(job)
    await asyncio.sleep(1.5)
    assert [job.done for job in jobs] == [1, 1, 0, 0, 0, 0]
    await asyncio.sleep(2)
    assert [job.done for job in jobs] == [1] * 6
    assert lane.queued_bytes == 0


class BlockingJob(FakeJob):
    """Is done when it is told."""

    def __init__(self):
        super().__init__()
        self.told = asyncio.Event()

    async def run(self):
        await self.told.wait()
        self.done += 1


@in_virtual_time
async def test_what_comes_just_when_the_last_is_done_is_not_left_lying():
    lane, held, job = RetryQueue("test", 1, 100), BlockingJob(), FakeJob()
    lane.submit(held)
    await asyncio.sleep(1)
    held.told.set()
    asyncio.get_running_loop().call_soon(lane.submit, job)
    await asyncio.sleep(2)
    assert job.done


@in_virtual_time
async def test_what_comes_while_it_closes_is_done_in_the_time_that_is_left():
    lane, held, loop = RetryQueue("test", 2, 100), BlockingJob(), asyncio.get_running_loop()
    lane.submit(FakeJob())
    for job in (held, FakeJob()):
        loop.call_later(0.5, lane.submit, job)
    loop.call_later(4, held.told.set)
    await lane.aclose(5)
    assert held.done


@in_virtual_time
async def test_what_fails_is_done_later_once():
    lane, jobs = RetryQueue("test", 2, 100), [FakeJob(failures=3), FakeJob(), FakeJob()]
    for job in jobs:
        lane.submit(job)
    await asyncio.sleep(20)
    assert [job.done for job in jobs] == [1, 1, 1]


@in_virtual_time
async def test_past_the_bound_the_oldest_is_dropped():
    lane, jobs = RetryQueue("test", 1, 3), [FakeJob(failures=100) for _ in range(6)]
    for job in jobs:
        lane.submit(job)
        await asyncio.sleep(0)
    assert lane.queued_bytes == 3
    assert lane.dropped == 3
    assert [bool(job.problem) for job in jobs[1:4]] == [True] * 3, "the first is being tried"
    await lane.aclose(0)
    assert all(job.problem for job in jobs)


@in_virtual_time
async def test_a_defect_drops_one_job(caplog):
    lane, jobs = RetryQueue("test", 1, 100), [FakeJob(defect=True), FakeJob()]
    for job in jobs:
        lane.submit(job)
    await asyncio.sleep(3)
    assert (jobs[0].problem, jobs[1].done) == ("an internal error, see the log", 1)
    assert "a defect" in caplog.text


@in_virtual_time
async def test_the_end_waits_for_what_can_be_done_in_time():
    lane, jobs = RetryQueue("test", 1, 100), [FakeJob() for _ in range(4)]
    for job in jobs:
        lane.submit(job)
    await lane.aclose(2.5)
    assert [job.done for job in jobs] == [1, 1, 0, 0]
    assert [bool(job.problem) for job in jobs] == [False, False, True, True]


@in_virtual_time
async def test_what_a_job_logs_is_that_calls_whose_job_it_is(caplog):
    caplog.handler.setFormatter(logs.JsonFormatter())
    lane = RetryQueue("test", 1, 10)

    async def call(name, redacted, job):
        logs.bind(call=name, tenant=f"of {name}", redacted=redacted)
        lane.submit(job)

    for name, redacted, job in (
        ("CA1", False, ResubmittingJob(1)),
        ("CA2", True, ResubmittingJob(2)),
        ("CA3", False, ResubmittingJob(3, defect=True)),
        ("CA4", True, ResubmittingJob(6)),
    ):
        await asyncio.create_task(call(name, redacted, job))
    await asyncio.sleep(10)
    told = [json.loads(line) for line in caplog.text.splitlines()]
    assert [(line["call"], line["tenant"], line["message"]) for line in told] == [
        ("CA1", "of CA1", "1 runs for +13072249663"),
        ("CA2", "of CA2", "2 is dropped for +***9663"),
        ("CA3", "of CA3", "3 runs for +13072249663"),
        ("CA3", "of CA3", "queue test: a job failed and is dropped"),
        ("CA3", "of CA3", "3 is dropped for +13072249663"),
        ("CA4", "of CA4", "6 runs for +***9663"),
    ]
