"""Two workers under one parent, with live calls: one is killed, and then all are told to leave."""

import asyncio
import os
import signal

from tests.resilience.cluster import running_cluster
from tests.resilience.silence import was_cut
from vocelio.gateway.store.db.schema import call_events, processes

CALLS = 12


async def running_calls(running):
    """So many calls, all with a stream."""
    calls = [asyncio.create_task(running.call(f"{number:04}")) for number in range(CALLS)]
    await running.crm.first_request.wait()
    return calls


async def wait_for_processes(running, count):
    """The processes, once there are so many and all calls are known to be with them."""
    async with asyncio.timeout(60):
        while True:
            rows = await running.rows(processes)
            if len(rows) == count and sum(row.live_calls for row in rows) == CALLS:
                return rows
            await asyncio.sleep(0.1)


async def test_a_worker_is_killed_and_its_calls_go_on_with_the_other(postgres):
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
        assert len(now) == 2, "it was replaced"
        assert (await running.call("1234")).errors == ()


async def test_the_parent_is_told_to_leave_and_another_takes_all_its_calls(postgres):
    async with running_cluster(postgres, 2, "--workers", "2") as running:
        calls = await running_calls(running)
        before = {row.pid for row in await wait_for_processes(running, 4)}
        took = await running.members[0].stop()
        assert running.members[0].process.returncode == 0
        reports = await asyncio.gather(*calls)
        await running.wait_until_settled()
        assert await running.failed_calls(reports) == []
        assert not any(map(was_cut, reports)), "no stream broke off"
        resumed = await running.rows(call_events, call_events.c.type == "call.resumed")
        assert resumed
        assert all('"planned":true' in event.data for event in resumed)
        left = {row.pid for row in await running.rows(processes)}
        assert len(left) == 2
        assert left < before, "those that left said so"
        assert took < 15
