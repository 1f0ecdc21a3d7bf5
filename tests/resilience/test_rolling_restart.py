"""Graceful restarts: other processes resume the calls of a stopping process, and no call is refused."""

import asyncio

import pytest

from tests.resilience.cluster import running_cluster
from tests.resilience.kill_rounds import new_rng, rolling_round
from tests.resilience.silence import OutcomeTally
from vocelio.gateway.store.db.schema import call_events


@pytest.mark.timeout(240)
async def test_rolling_restart_under_load_loses_no_call(postgres, capsys):
    tally, rng = OutcomeTally(), new_rng(3)
    async with running_cluster(postgres) as running:
        durations = await rolling_round(running, tally, rng, 15)
        assert running.balancer.refused_connections == 0
        planned = await running.rows(call_events, call_events.c.type == "call.resumed")
    with capsys.disabled():
        print(f"\n  stopping took {', '.join(f'{seconds:.1f} s' for seconds in durations)}; {tally}")  # noqa: T201
    assert max(durations) < 10
    assert tally.failed == tally.unaffected_failed == []
    assert tally.cut == 0, "no stream was lost"
    assert planned
    assert all('"planned":true' in event.data for event in planned)


async def test_draining_process_waits_for_its_calls_to_end(postgres):
    async with running_cluster(postgres, 2, drain=60) as running:
        call = asyncio.create_task(running.call("1234"))
        await running.crm.first_request.wait()
        duration = await (await running.wait_until_busy()).stop()
        report = await asyncio.wait_for(call, 60)
        await running.wait_until_settled()
        assert await running.failed_calls([report]) == []
        assert len(report.streams) == 1, "the call was not handed over"
        assert 2 < duration < 60
