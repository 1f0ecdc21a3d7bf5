"""Redis stands still, then dies with one of two processes: no call is lost, and every monitor is soon right again."""

import asyncio

import pytest

from tests.resilience.cluster import running_cluster
from tests.resilience.kill_rounds import new_rng, running_load
from tests.resilience.redis_outage import (
    RECOVERY_SECONDS,
    delivery_counts,
    process_killed,
    redis_outage,
    running_monitors,
    wait_until_all_consistent,
)
from tests.resilience.silence import OutcomeTally
from vocelio.gateway.clock import wall_clock

CALLS, SPREAD, AWAY = 8, 3.0, 3.0  # at once; seconds


@pytest.mark.timeout(240)
async def test_redis_and_a_process_away_under_calls_and_monitors(postgres, capsys):
    tally, rng = OutcomeTally(), new_rng(9)
    async with running_cluster(postgres, 2) as running, running_monitors(running) as watching:
        async with running_load(running, tally, rng, CALLS, SPREAD):
            await redis_outage(running.redis, "pause", AWAY)
            took = [await wait_until_all_consistent(watching, running.database)]
            async with asyncio.TaskGroup() as faults:
                faults.create_task(redis_outage(running.redis, "kill", AWAY))
                faults.create_task(process_killed(running, rng, 0.5, recovery=0.0))
            took.append(await wait_until_all_consistent(watching, running.database))
            since = wall_clock() + round(RECOVERY_SECONDS * 1e6)
        took.append(await wait_until_all_consistent(watching, running.database, moving=False))
        told, untold = delivery_counts(watching, since)
        assert sum(monitor.connected for monitor in watching) == 3, "that of the killed process came back"
        assert running.balancer.refused_connections == 0
    with capsys.disabled():
        print(f"\n  pictures right after {', '.join(f'{seconds:.2f} s' for seconds in took)}; {tally}")  # noqa: T201
    assert max(took) < RECOVERY_SECONDS
    assert told > 0
    assert untold == 0, "what one monitor is told all are"
    assert tally.unaffected_failed == []
    assert tally.cut > 0
    assert tally.failed == []
