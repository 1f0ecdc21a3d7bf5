"""Redis stands still or is killed under live calls and monitors, and maybe a process with it; and it comes back.

Each process is watched by a monitor, which connects again when its process is back. Calls go on all the while, and the
pictures are compared with the store while they do, call by call, and as a whole when all calls have ended.
"""

import asyncio
import contextlib
import math
from dataclasses import dataclass, field
from typing import NamedTuple

from aiohttp import ClientError

from tests.resilience import playout_gaps
from tests.resilience.cluster import running_cluster
from tests.resilience.kill_rounds import RECOVERY, new_rng, running_load
from tests.resilience.silence import OutcomeTally
from tests.support.monitor_client import open_monitor
from vocelio.gateway.clock import from_rfc3339, wall_clock

OUTAGE_SECONDS = 30.0  # that Redis is away
WARM_UP_SECONDS = 8.0  # seconds until those who listen have all begun to
RECOVERY_SECONDS = 3.0  # seconds from when all is well again until every picture is right
MAX_P99_CHANGE_MS = 5.0  # by which the p99 of the pacing may differ
TIMEOUT_SECONDS = 30.0  # seconds, for pictures that are not right in time
RECONNECT_SECONDS = 1.0  # seconds until a monitor that was cut off connects again

REDIS_FAULTS = ("pause", "kill")
FAULT_COMBINATIONS = tuple(
    (redis, worker) for redis in (*REDIS_FAULTS, "") for worker in (False, True) if redis or worker
)
"""What a round does to Redis, and whether it kills a process, too."""


class ReconnectingMonitor:
    """Watches one process as docs/monitoring.md says one should. ``connected`` counts how often it had to connect."""

    def __init__(self, member, key):
        self.connected, self.shown = 0, None
        self._member, self._key = member, key
        self._stands = asyncio.Event()

    async def run(self):
        """Watch for ever."""
        while True:
            with contextlib.suppress(ClientError, OSError, TimeoutError):  # its process is not there
                await self._run_once()
            await asyncio.sleep(RECONNECT_SECONDS)

    async def wait_until_consistent(self, database, *, moving):
        """Seconds until it is connected and its picture is the store's; see Screen.right."""
        began = asyncio.get_running_loop().time()
        await asyncio.wait_for(self._stands.wait(), TIMEOUT_SECONDS)
        await self.shown.wait_until_consistent(database, seconds=TIMEOUT_SECONDS, calls_are_moving=moving)
        return asyncio.get_running_loop().time() - began

    async def _run_once(self):
        async with open_monitor(self._member, self._key) as self.shown:
            self.connected += 1
            self._stands.set()
            try:
                await self.shown.wait_until(lambda shown: shown.close_code, seconds=None)
            finally:
                self._stands.clear()


@contextlib.asynccontextmanager
async def running_monitors(running):
    """One of each process."""
    async with asyncio.TaskGroup() as group:
        made = [ReconnectingMonitor(member, running.key) for member in running.members]
        tasks = [group.create_task(monitor.run()) for monitor in made]
        yield made
        for task in tasks:
            task.cancel()


async def wait_until_all_consistent(watching, database, *, moving=True):
    """Seconds until every monitor's picture is the store's."""
    return max(await asyncio.gather(*(monitor.wait_until_consistent(database, moving=moving) for monitor in watching)))


def delivery_counts(watching, since):
    """How many events since then some monitor had, and how many of these not all had."""
    each = [
        {
            (event["call"], event["generation"], event["sequence"])
            for event in monitor.shown.events
            if from_rfc3339(event["occurred_at"]) >= since
        }
        for monitor in watching
    ]
    return len(set.union(*each)), len(set.union(*each) - set.intersection(*each))


async def redis_outage(redis, fault, seconds):
    """Redis stands still, or is dead and begins anew, empty."""
    getattr(redis, fault)()
    try:
        await asyncio.sleep(seconds)
    finally:
        await asyncio.to_thread(redis.start)


async def process_killed(running, rng, after, recovery=RECOVERY):
    """One process dies, and is back some seconds later."""
    await asyncio.sleep(after)
    victim = rng.choice(running.members)
    await victim.kill()
    await asyncio.sleep(recovery)
    await victim.start()


class PlayoutGapP99(NamedTuple):
    """The p99 in ms before Redis was away in that way, and meanwhile; the same of all messages, starved ones, too."""

    redis: str
    before: float
    away: float
    all_before: float
    all_away: float

    def __str__(self):
        return (
            f"{self.redis} {self.before:.1f} to {self.away:.1f} ms "
            f"(with what was starved {self.all_before:.0f} to {self.all_away:.0f} ms)"
        )


@dataclass
class RedisOutageResult:
    """What came of all rounds with so many processes. ``disturbed`` are those in which a process was killed."""

    processes: int
    alone: OutcomeTally = field(default_factory=OutcomeTally)
    disturbed: OutcomeTally = field(default_factory=OutcomeTally)
    right: list = field(default_factory=list)  # seconds, of each round, while calls went on
    still: list = field(default_factory=list)  # and again when they had ended
    told: int = 0  # events that a monitor of each process should have had once Redis was back
    untold: int = 0  # those that one had not
    pacing: list = field(default_factory=list)
    refused: int = 0
    torn: int = 0  # monitors' connections that ended though their process had not

    @property
    def is_ok(self):
        """Nothing was lost, every picture was right in time, and the pacing as it is without a fault."""
        calm = not (self.alone.cut or self.alone.failed or self.alone.unaffected_failed)
        kept = self.disturbed.recovered_share >= 0.995 and not self.disturbed.unaffected_failed
        paced = all(abs(one.away - one.before) <= MAX_P99_CHANGE_MS for one in self.pacing)
        soon = max(self.right + self.still) < RECOVERY_SECONDS
        return calm and kept and paced and soon and self.told > 0 and not (self.untold or self.torn or self.refused)

    def __str__(self):
        took = ", ".join(f"{seconds:.2f} s" for seconds in self.right)
        paced = ", ".join(map(str, self.pacing))
        wrong = [text for tally in (self.alone, self.disturbed) for text in tally.failed + tally.unaffected_failed]
        return (
            f"{self.processes} processes: pictures right after {took}, without calls {max(self.still):.2f} s; "
            f"{self.told} events told since, {self.untold} not to all; {self.torn} monitors torn off, {self.refused} "
            f"connections refused; late messages p99: {paced}; Redis alone: {self.alone}; with killed processes: "
            f"{self.disturbed}; wrong: {wrong}"
        )


async def run_redis_outages(postgres, processes, rounds, calls, done):
    """So many rounds; ``done`` is told of each."""
    made, rng, faults = RedisOutageResult(processes), new_rng(processes), []
    while len(faults) < rounds:
        faults += rng.sample(FAULT_COMBINATIONS, len(FAULT_COMBINATIONS))
    async with running_cluster(postgres, processes) as running, running_monitors(running) as watching:
        await playout_gaps.seed_flow(running.database)
        for redis, worker in faults[:rounds]:
            await _round(running, watching, made, rng, calls, redis, worker)
            made.torn = sum(monitor.connected for monitor in watching) - processes - made.disturbed.rounds
            made.refused = running.balancer.refused_connections
            done(f"{redis or 'Redis well'}{', a process killed' if worker else ''}: {made}")
    return made


async def _round(running, watching, made, rng, calls, redis, worker):
    async with (
        running_load(running, made.disturbed if worker else made.alone, rng, calls),
        asyncio.TaskGroup() as group,
    ):
        if not worker:
            messages = group.create_task(
                playout_gaps.measure_playout(running.members, WARM_UP_SECONDS + 2 * OUTAGE_SECONDS)
            )
            await asyncio.sleep(WARM_UP_SECONDS + OUTAGE_SECONDS)
        began = asyncio.get_running_loop().time()
        async with asyncio.TaskGroup() as faults:
            if redis:
                faults.create_task(redis_outage(running.redis, redis, OUTAGE_SECONDS))
            if worker:
                faults.create_task(process_killed(running, rng, rng.uniform(0, OUTAGE_SECONDS)))
        made.right.append(await wait_until_all_consistent(watching, running.database))
        if not worker:
            made.pacing.append(_playout_gap_p99(redis, await messages, began))
        await asyncio.sleep(RECOVERY_SECONDS)
        since = wall_clock()
    made.still.append(await wait_until_all_consistent(watching, running.database, moving=False))
    told, untold = delivery_counts(watching, since)
    made.told += told
    made.untold += untold


def _playout_gap_p99(redis, messages, began):
    """Before Redis went away, and while it was."""
    stretches = (began - OUTAGE_SECONDS, began), (began, began + OUTAGE_SECONDS)
    before, away = ([message for message in messages if begin <= message[0] < end] for begin, end in stretches)
    return PlayoutGapP99(
        redis,
        playout_gaps.p99_late_ms(before),
        playout_gaps.p99_late_ms(away),
        playout_gaps.p99_late_ms(before, math.inf),
        playout_gaps.p99_late_ms(away, math.inf),
    )
