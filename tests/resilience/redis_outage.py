"""Outages of Redis: it is paused or killed during live calls, possibly together with a process, and restarted.

Each process has one monitor, which reconnects when its process is back. The monitors' call views are compared with the
store during the calls, call by call, and completely when all calls have ended.
"""

import asyncio
import contextlib
import math
from dataclasses import dataclass, field
from typing import NamedTuple

from aiohttp import ClientError

from tests.resilience import playout_gaps
from tests.resilience.cluster import running_cluster
from tests.resilience.kill_rounds import RESTART_DELAY_SECONDS, new_rng, running_load
from tests.resilience.silence import OutcomeTally
from tests.support.monitor_client import open_monitor
from vocelio.gateway.clock import from_rfc3339, wall_clock

OUTAGE_SECONDS = 30.0
WARM_UP_SECONDS = 8.0  # until all callers have heard the start of their prompt
RECOVERY_SECONDS = 3.0  # bound from the end of the faults until every monitor is consistent
MAX_P99_CHANGE_MS = 5.0  # of the lateness of audio messages
TIMEOUT_SECONDS = 30.0  # for monitors that are not consistent in time
RECONNECT_SECONDS = 1.0  # delay before a monitor reconnects

REDIS_FAULTS = ("pause", "kill")
FAULT_COMBINATIONS = tuple(
    (redis, worker) for redis in (*REDIS_FAULTS, "") for worker in (False, True) if redis or worker
)
"""Fault of Redis (or none), and whether a process is killed."""


class ReconnectingMonitor:
    """Monitors one process as docs/monitoring.md recommends; ``connected`` counts its connections."""

    def __init__(self, member, key):
        self.connected, self.client = 0, None
        self._member, self._key = member, key
        self._is_connected = asyncio.Event()

    async def run(self):
        """Monitor until cancelled."""
        while True:
            with contextlib.suppress(ClientError, OSError, TimeoutError):  # its process is down
                await self._run_once()
            await asyncio.sleep(RECONNECT_SECONDS)

    async def wait_until_consistent(self, database, *, moving):
        """Wait until connected and consistent with the store; return the seconds it took."""
        began = asyncio.get_running_loop().time()
        await asyncio.wait_for(self._is_connected.wait(), TIMEOUT_SECONDS)
        await self.client.wait_until_consistent(database, seconds=TIMEOUT_SECONDS, calls_are_moving=moving)
        return asyncio.get_running_loop().time() - began

    async def _run_once(self):
        async with open_monitor(self._member, self._key) as self.client:
            self.connected += 1
            self._is_connected.set()
            try:
                await self.client.wait_until(lambda client: client.close_code, seconds=None)
            finally:
                self._is_connected.clear()


@contextlib.asynccontextmanager
async def running_monitors(running):
    """Run one monitor per process."""
    async with asyncio.TaskGroup() as group:
        monitors = [ReconnectingMonitor(member, running.key) for member in running.members]
        tasks = [group.create_task(monitor.run()) for monitor in monitors]
        yield monitors
        for task in tasks:
            task.cancel()


async def wait_until_all_consistent(monitors, database, *, moving=True):
    """Wait until all monitors are consistent with the store; return the seconds it took."""
    return max(await asyncio.gather(*(monitor.wait_until_consistent(database, moving=moving) for monitor in monitors)))


def delivery_counts(monitors, since):
    """Return how many events since then any monitor got, and how many of them not every monitor got."""
    event_keys = [
        {
            (event["call"], event["generation"], event["sequence"])
            for event in monitor.client.events
            if from_rfc3339(event["occurred_at"]) >= since
        }
        for monitor in monitors
    ]
    return len(set.union(*event_keys)), len(set.union(*event_keys) - set.intersection(*event_keys))


async def redis_outage(redis, fault, seconds):
    """Pause Redis, or kill it and restart it empty."""
    getattr(redis, fault)()
    try:
        await asyncio.sleep(seconds)
    finally:
        await asyncio.to_thread(redis.start)


async def process_killed(running, rng, delay_seconds, restart_delay_seconds=RESTART_DELAY_SECONDS):
    """Kill one process and restart it later."""
    await asyncio.sleep(delay_seconds)
    victim = rng.choice(running.members)
    await victim.kill()
    await asyncio.sleep(restart_delay_seconds)
    await victim.start()


class PlayoutGapP99(NamedTuple):
    """p99 lateness (ms) before and during a fault of Redis; ``all_*`` include messages delayed by CPU starvation."""

    redis: str
    before: float
    during: float
    all_before: float
    all_during: float

    def __str__(self):
        return (
            f"{self.redis} {self.before:.1f} to {self.during:.1f} ms "
            f"(with starved messages {self.all_before:.0f} to {self.all_during:.0f} ms)"
        )


@dataclass
class RedisOutageResult:
    """Outcomes of all rounds with one cluster size: rounds with only Redis faults, and those with a killed process."""

    processes: int
    redis_only: OutcomeTally = field(default_factory=OutcomeTally)
    with_kill: OutcomeTally = field(default_factory=OutcomeTally)
    consistent_seconds: list = field(default_factory=list)  # of each round, during calls
    idle_consistent_seconds: list = field(default_factory=list)  # of each round, after all calls
    delivered: int = 0  # events after the outage
    missing: int = 0  # those that some monitor did not get
    playout_gaps: list = field(default_factory=list)
    refused: int = 0
    closed_monitors: int = 0  # connections that ended although their process was running

    @property
    def is_ok(self):
        """Nothing was lost, monitors were consistent in time, and audio was as punctual as without a fault."""
        undisturbed = not (self.redis_only.cut or self.redis_only.failed or self.redis_only.unaffected_failed)
        recovered = self.with_kill.recovered_share >= 0.995 and not self.with_kill.unaffected_failed
        punctual = all(abs(gap.during - gap.before) <= MAX_P99_CHANGE_MS for gap in self.playout_gaps)
        in_time = max(self.consistent_seconds + self.idle_consistent_seconds) < RECOVERY_SECONDS
        complete = self.delivered > 0 and not (self.missing or self.closed_monitors or self.refused)
        return undisturbed and recovered and punctual and in_time and complete

    def __str__(self):
        durations = ", ".join(f"{seconds:.2f} s" for seconds in self.consistent_seconds)
        gaps = ", ".join(map(str, self.playout_gaps))
        failed = [
            text for tally in (self.redis_only, self.with_kill) for text in tally.failed + tally.unaffected_failed
        ]
        return (
            f"{self.processes} processes: monitors consistent after {durations}, "
            f"without calls {max(self.idle_consistent_seconds):.2f} s; {self.delivered} events delivered since, "
            f"{self.missing} not to all; {self.closed_monitors} monitors disconnected, {self.refused} connections "
            f"refused; lateness p99: {gaps}; Redis only: {self.redis_only}; with killed processes: {self.with_kill}; "
            f"failed: {failed}"
        )


async def run_redis_outages(postgres, processes, rounds, calls, on_round):
    """Run the rounds; call ``on_round`` with a text after each."""
    result, rng, faults = RedisOutageResult(processes), new_rng(processes), []
    while len(faults) < rounds:
        faults += rng.sample(FAULT_COMBINATIONS, len(FAULT_COMBINATIONS))
    async with running_cluster(postgres, processes) as running, running_monitors(running) as monitors:
        await playout_gaps.seed_flow(running.database)
        for redis, worker in faults[:rounds]:
            await _round(running, monitors, result, rng, calls, redis, worker)
            result.closed_monitors = (
                sum(monitor.connected for monitor in monitors) - processes - result.with_kill.rounds
            )
            result.refused = running.balancer.refused_connections
            on_round(f"{redis or 'no Redis fault'}{', a process killed' if worker else ''}: {result}")
    return result


async def _round(running, monitors, result, rng, calls, redis, worker):
    async with (
        running_load(running, result.with_kill if worker else result.redis_only, rng, calls),
        asyncio.TaskGroup() as group,
    ):
        if not worker:
            messages = group.create_task(
                playout_gaps.measure_playout(running.members, WARM_UP_SECONDS + 2 * OUTAGE_SECONDS)
            )
            await asyncio.sleep(WARM_UP_SECONDS + OUTAGE_SECONDS)
        outage_at = asyncio.get_running_loop().time()
        async with asyncio.TaskGroup() as faults:
            if redis:
                faults.create_task(redis_outage(running.redis, redis, OUTAGE_SECONDS))
            if worker:
                faults.create_task(process_killed(running, rng, rng.uniform(0, OUTAGE_SECONDS)))
        result.consistent_seconds.append(await wait_until_all_consistent(monitors, running.database))
        if not worker:
            result.playout_gaps.append(_playout_gap_p99(redis, await messages, outage_at))
        await asyncio.sleep(RECOVERY_SECONDS)
        since = wall_clock()
    result.idle_consistent_seconds.append(await wait_until_all_consistent(monitors, running.database, moving=False))
    delivered, missing = delivery_counts(monitors, since)
    result.delivered += delivered
    result.missing += missing


def _playout_gap_p99(redis, messages, outage_at):
    """Summarize the lateness before and during the outage."""
    periods = (outage_at - OUTAGE_SECONDS, outage_at), (outage_at, outage_at + OUTAGE_SECONDS)
    before, during = ([message for message in messages if start <= message[0] < end] for start, end in periods)
    return PlayoutGapP99(
        redis,
        playout_gaps.p99_late_ms(before),
        playout_gaps.p99_late_ms(during),
        playout_gaps.p99_late_ms(before, math.inf),
        playout_gaps.p99_late_ms(during, math.inf),
    )
