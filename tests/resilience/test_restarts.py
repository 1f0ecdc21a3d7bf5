"""Restarts on one machine lose no call: SIGHUP, a crash of the only worker, and SIGTERM without another process."""

import asyncio

import pytest

from tests.resilience.cluster import running_cluster, running_machine
from tests.resilience.kill_rounds import new_rng
from tests.resilience.restarts import reload_round, worker_kill_round
from tests.resilience.silence import OutcomeTally
from vocelio.gateway.store.db.schema import calls

CALLS = 6


@pytest.mark.timeout(240)
async def test_sighup_hands_the_calls_of_a_single_process_to_its_successor(tmp_path):
    tally = OutcomeTally()
    async with running_machine(tmp_path) as machine:
        await reload_round(machine, tally, new_rng(1), CALLS)
        assert machine.balancer.refused_connections == 0
    assert tally.calls >= CALLS
    assert (tally.failed, tally.unaffected_failed, tally.cut) == ([], [], 0)


@pytest.mark.timeout(240)
async def test_sighup_with_two_workers_refuses_no_connection_and_loses_no_call(postgres):
    tally = OutcomeTally()
    async with running_cluster(postgres, 1, "--workers", "2") as cluster:
        await reload_round(cluster, tally, new_rng(2), CALLS, workers=2)
        assert cluster.balancer.refused_connections == 0
    assert (tally.failed, tally.unaffected_failed, tally.cut) == ([], [], 0)


@pytest.mark.timeout(240)
async def test_calls_of_the_only_worker_survive_its_crash(tmp_path):
    tally = OutcomeTally()
    async with running_machine(tmp_path) as machine:
        await worker_kill_round(machine, tally, new_rng(3), CALLS)
        assert machine.balancer.refused_connections == 0
    assert tally.cut > 0
    assert (tally.failed, tally.unaffected_failed) == ([], [])


@pytest.mark.timeout(240)
async def test_sigterm_without_another_process_lets_the_calls_end(tmp_path):
    async with running_machine(tmp_path) as machine:
        in_progress = [asyncio.create_task(machine.call(f"{number:04}")) for number in range(CALLS)]
        await machine.crm.first_request.wait()
        stopping = asyncio.create_task(machine.members[0].stop())
        new_calls = []
        async with asyncio.timeout(30):
            while not await machine.rows(calls, calls.c.outcome == "capacity"):
                new_calls.append(asyncio.create_task(machine.call("9999")))
                await asyncio.sleep(0.3)
        refused = [report for report in await asyncio.gather(*new_calls) if report.say_texts]
        assert refused, "a new caller hears that the call cannot be taken"
        reports = await asyncio.gather(*in_progress)
        await stopping
        assert machine.members[0].process.returncode == 0
        assert await machine.failed_calls(reports) == []
        assert all(len(report.streams) == 1 for report in reports), "the calls stayed where they were"
        await machine.members[0].start()
        assert (await machine.call("1234")).errors == ()
