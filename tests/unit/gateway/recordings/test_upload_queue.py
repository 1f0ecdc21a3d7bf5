"""The retry queue: retries, bounds, shutdown."""

import asyncio
import json
import logging

from tests.support.virtual_time import in_virtual_time
from vocelio.gateway import logs
from vocelio.gateway.errors import DatabaseUnavailable
from vocelio.gateway.recordings.upload_queue import RetryQueue

LOGGER = logging.getLogger(__name__)


class FakeJob:
    """Takes a second; fails a given number of times."""

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
    """Logs what becomes of it, with a phone number in the text."""

    async def run(self):
        LOGGER.warning("%s runs for +13072249663", self.size)
        await super().run()

    def on_dropped(self, problem):
        LOGGER.warning("%s is dropped for +13072249663", self.size)


@in_virtual_time
async def test_concurrency_is_limited():
    queue, jobs = RetryQueue("test", 2, 100), [FakeJob() for _ in range(6)]
    for job in jobs:
        queue.submit(job)
    await asyncio.sleep(1.5)
    assert [job.done for job in jobs] == [1, 1, 0, 0, 0, 0]
    await asyncio.sleep(2)
    assert [job.done for job in jobs] == [1] * 6
    assert queue.queued_bytes == 0


class BlockingJob(FakeJob):
    """Ends when released."""

    def __init__(self):
        super().__init__()
        self.told = asyncio.Event()

    async def run(self):
        await self.told.wait()
        self.done += 1


@in_virtual_time
async def test_job_submitted_as_the_last_one_ends_is_run():
    queue, stored, job = RetryQueue("test", 1, 100), BlockingJob(), FakeJob()
    queue.submit(stored)
    await asyncio.sleep(1)
    stored.told.set()
    asyncio.get_running_loop().call_soon(queue.submit, job)
    await asyncio.sleep(2)
    assert job.done


@in_virtual_time
async def test_job_submitted_while_closing_is_run():
    queue, stored, loop = RetryQueue("test", 2, 100), BlockingJob(), asyncio.get_running_loop()
    queue.submit(FakeJob())
    for job in (stored, FakeJob()):
        loop.call_later(0.5, queue.submit, job)
    loop.call_later(4, stored.told.set)
    await queue.aclose(5)
    assert stored.done


@in_virtual_time
async def test_failed_job_is_retried_until_it_succeeds():
    queue, jobs = RetryQueue("test", 2, 100), [FakeJob(failures=3), FakeJob(), FakeJob()]
    for job in jobs:
        queue.submit(job)
    await asyncio.sleep(20)
    assert [job.done for job in jobs] == [1, 1, 1]


@in_virtual_time
async def test_oldest_job_is_dropped_past_the_bound():
    queue, jobs = RetryQueue("test", 1, 3), [FakeJob(failures=100) for _ in range(6)]
    for job in jobs:
        queue.submit(job)
        await asyncio.sleep(0)
    assert queue.queued_bytes == 3
    assert queue.dropped == 3
    assert [bool(job.problem) for job in jobs[1:4]] == [True] * 3, "the first is being tried"
    await queue.aclose(0)
    assert all(job.problem for job in jobs)


@in_virtual_time
async def test_unexpected_error_drops_one_job(caplog):
    queue, jobs = RetryQueue("test", 1, 100), [FakeJob(defect=True), FakeJob()]
    for job in jobs:
        queue.submit(job)
    await asyncio.sleep(3)
    assert (jobs[0].problem, jobs[1].done) == ("an internal error, see the log", 1)
    assert "a defect" in caplog.text


@in_virtual_time
async def test_close_waits_for_jobs_within_its_timeout():
    queue, jobs = RetryQueue("test", 1, 100), [FakeJob() for _ in range(4)]
    for job in jobs:
        queue.submit(job)
    await queue.aclose(2.5)
    assert [job.done for job in jobs] == [1, 1, 0, 0]
    assert [bool(job.problem) for job in jobs] == [False, False, True, True]


@in_virtual_time
async def test_job_logs_in_the_context_of_its_call(caplog):
    caplog.handler.setFormatter(logs.JsonFormatter())
    queue = RetryQueue("test", 1, 10)

    async def call(name, redacted, job):
        logs.bind(call=name, tenant=f"of {name}", redacted=redacted)
        queue.submit(job)

    for name, redacted, job in (
        ("CA1", False, ResubmittingJob(1)),
        ("CA2", True, ResubmittingJob(2)),
        ("CA3", False, ResubmittingJob(3, defect=True)),
        ("CA4", True, ResubmittingJob(6)),
    ):
        await asyncio.create_task(call(name, redacted, job))
    await asyncio.sleep(10)
    reported = [json.loads(line) for line in caplog.text.splitlines()]
    assert [(line["call"], line["tenant"], line["message"]) for line in reported] == [
        ("CA1", "of CA1", "1 runs for +13072249663"),
        ("CA2", "of CA2", "2 is dropped for +***9663"),
        ("CA3", "of CA3", "3 runs for +13072249663"),
        ("CA3", "of CA3", "queue test: a job failed and is dropped"),
        ("CA3", "of CA3", "3 is dropped for +13072249663"),
        ("CA4", "of CA4", "6 runs for +***9663"),
    ]
