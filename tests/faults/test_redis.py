"""Redis stands still, then dies with one of two processes: no call is lost, and every monitor is soon right again."""

import asyncio

import pytest

from tests.faults.cluster import cluster
from tests.faults.measuring import Tally
from tests.faults.mixture import RECOVERED, heard, monitors, redis_away, right, worker_killed
from tests.faults.rounds import load, source
from vocelio.gateway.clock import wall_clock

CALLS, SPREAD, AWAY = 8, 3.0, 3.0  # at once; seconds


@pytest.mark.timeout(240)
async def test_redis_and_a_process_away_under_calls_and_monitors(postgres, capsys):
    tally, rng = Tally(), source(9)
    async with cluster(postgres, 2) as running, monitors(running) as watching:
        async with load(running, tally, rng, CALLS, SPREAD):
            await redis_away(running.redis, "pause", AWAY)
            took = [await right(watching, running.database)]
            async with asyncio.TaskGroup() as faults:
                faults.create_task(redis_away(running.redis, "kill", AWAY))
                faults.create_task(worker_killed(running, rng, 0.5, recovery=0.0))
            took.append(await right(watching, running.database))
            since = wall_clock() + round(RECOVERED * 1e6)
        took.append(await right(watching, running.database, moving=False))
        told, untold = heard(watching, since)
        assert sum(monitor.connected for monitor in watching) == 3, "that of the killed process came back"
        assert running.balancer.refused == 0
    with capsys.disabled():
        print(f"\n  pictures right after {', '.join(f'{seconds:.2f} s' for seconds in took)}; {tally}")  # noqa: T201
    assert max(took) < RECOVERED
    assert told > 0
    assert untold == 0, "what one monitor is told all are"
    assert tally.unaffected_wrong == []
    assert tally.cut > 0
    assert tally.wrong == []
