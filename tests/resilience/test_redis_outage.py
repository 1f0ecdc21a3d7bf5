"""Redis is paused, then killed with one of two processes: no call is lost, and all monitors soon are consistent."""

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

CALLS, SPREAD_SECONDS, OUTAGE_SECONDS = 8, 3.0, 3.0


@pytest.mark.timeout(240)
async def test_monitors_recover_from_an_outage_of_redis_and_a_process(postgres, capsys):
    tally, rng = OutcomeTally(), new_rng(9)
    async with running_cluster(postgres, 2) as running, running_monitors(running) as monitors:
        async with running_load(running, tally, rng, CALLS, SPREAD_SECONDS):
            await redis_outage(running.redis, "pause", OUTAGE_SECONDS)
            durations = [await wait_until_all_consistent(monitors, running.database)]
            async with asyncio.TaskGroup() as faults:
                faults.create_task(redis_outage(running.redis, "kill", OUTAGE_SECONDS))
                faults.create_task(process_killed(running, rng, 0.5, restart_delay_seconds=0.0))
            durations.append(await wait_until_all_consistent(monitors, running.database))
            since = wall_clock() + round(RECOVERY_SECONDS * 1e6)
        durations.append(await wait_until_all_consistent(monitors, running.database, moving=False))
        delivered, missing = delivery_counts(monitors, since)
        assert sum(monitor.connected for monitor in monitors) == 3, "only the monitor of the killed process reconnected"
        assert running.balancer.refused_connections == 0
    with capsys.disabled():
        print(f"\n  monitors consistent after {', '.join(f'{seconds:.2f} s' for seconds in durations)}; {tally}")  # noqa: T201
    assert max(durations) < RECOVERY_SECONDS
    assert delivered > 0
    assert missing == 0, "every monitor got every event"
    assert tally.unaffected_failed == []
    assert tally.cut > 0
    assert tally.failed == []
