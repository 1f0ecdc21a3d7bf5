"""A supervisor with two workers and live calls: one worker is killed, or all are stopped."""

import asyncio
import os
import signal

from tests.resilience.cluster import running_cluster
from tests.resilience.silence import was_cut
from vocelio.gateway.store.db.schema import call_events, processes

CALLS = 12


async def running_calls(running):
    """Place CALLS calls and wait until the first answer was posted."""
    calls = [asyncio.create_task(running.call(f"{number:04}")) for number in range(CALLS)]
    await running.crm.first_request.wait()
    return calls


async def wait_for_processes(running, count):
    """Wait until ``count`` processes have reported all calls; return their rows."""
    async with asyncio.timeout(60):
        while True:
            rows = await running.rows(processes)
            if len(rows) == count and sum(row.live_calls for row in rows) == CALLS:
                return rows
            await asyncio.sleep(0.1)


async def test_calls_of_a_killed_worker_are_resumed_by_the_other(postgres):
    async with running_cluster(postgres, 1, "--workers", "2") as running:
        calls = await running_calls(running)
        busiest = max(await wait_for_processes(running, 2), key=lambda row: row.live_calls)
        os.kill(busiest.pid, signal.SIGKILL)
        reports = await asyncio.gather(*calls)
        await running.wait_until_settled()
        assert await running.failed_calls(reports) == []
        assert sum(map(was_cut, reports)) == busiest.live_calls > 0
        async with asyncio.timeout(60):
            while busiest.pid in {row.pid for row in await running.rows(processes)}:  # noqa: ASYNC110 (30 s)
                await asyncio.sleep(0.5)
        now = await running.rows(processes)
        assert len(now) == 2, "the worker was restarted"
        assert (await running.call("1234")).errors == ()


async def test_calls_of_a_stopped_supervisor_are_handed_over(postgres):
    async with running_cluster(postgres, 2, "--workers", "2") as running:
        calls = await running_calls(running)
        before = {row.pid for row in await wait_for_processes(running, 4)}
        duration = await running.members[0].stop()
        assert running.members[0].process.returncode == 0
        reports = await asyncio.gather(*calls)
        await running.wait_until_settled()
        assert await running.failed_calls(reports) == []
        assert not any(map(was_cut, reports)), "no stream was lost"
        resumed = await running.rows(call_events, call_events.c.type == "call.resumed")
        assert resumed
        assert all('"planned":true' in event.data for event in resumed)
        remaining = {row.pid for row in await running.rows(processes)}
        assert len(remaining) == 2
        assert remaining < before, "stopped processes removed their rows"
        assert duration < 15
