"""A process that is told to stop: its calls go on with others, and no call is refused meanwhile."""

import asyncio

import pytest

from tests.faults.cluster import cluster
from tests.faults.measuring import Tally
from tests.faults.rounds import rolling_round, source
from vocelio.gateway.store.db.schema import call_events


@pytest.mark.timeout(240)
async def test_all_processes_are_replaced_under_load(postgres, capsys):
    tally, rng = Tally(), source(3)
    async with cluster(postgres) as running:
        took = await rolling_round(running, tally, rng, 15)
        assert running.balancer.refused == 0
        planned = await running.rows(call_events, call_events.c.type == "call.resumed")
    with capsys.disabled():
        print(f"\n  leaving took {', '.join(f'{seconds:.1f} s' for seconds in took)}; {tally}")  # noqa: T201
    assert max(took) < 10
    assert tally.wrong == tally.unaffected_wrong == []
    assert tally.cut == 0, "no stream broke off"
    assert planned
    assert all('"planned":true' in event.data for event in planned)


async def test_a_process_may_let_its_calls_end_first(postgres):
    async with cluster(postgres, 2, drain=60) as running:
        call = asyncio.create_task(running.call("1234"))
        await running.crm.first.wait()
        took = await (await running.busy()).stop()
        report = await asyncio.wait_for(call, 60)
        await running.settled()
        assert await running.wrong([report]) == []
        assert len(report.streams) == 1, "nobody handed it over"
        assert 2 < took < 60
