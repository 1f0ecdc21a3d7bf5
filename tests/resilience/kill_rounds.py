"""The rounds: many calls, and in their midst a process is killed, or all are replaced one after the other.

``python -m tests.resilience ROUNDS [CALLS]`` runs them long, with what was measured at the end.
"""

import asyncio
import random
from contextlib import asynccontextmanager

from tests.resilience.cluster import START_TIMEOUT_SECONDS
from tests.resilience.silence import silences_seconds, was_cut

SPREAD = 6.0  # seconds over which the calls of a round begin
RECOVERY = 4.0  # seconds from the death of a process to its restart
LENGTH = 13.0  # seconds of one call, undisturbed


async def kill_round(cluster, tally, rng, count):
    """``count`` calls, and one process dies while they are on; it is back before the next round."""
    calls = [asyncio.create_task(_call(cluster, rng, rng.uniform(0, SPREAD))) for _ in range(count)]
    await asyncio.sleep(rng.uniform(SPREAD / 2, LENGTH))
    victim = rng.choice(cluster.members)
    await victim.kill()
    await asyncio.sleep(RECOVERY)  # another machine's start would not take these calls' processors
    back = asyncio.create_task(victim.start())
    reports = await asyncio.gather(*calls)
    await back
    await cluster.wait_until_settled()
    await _tally_reports(cluster, tally, reports)


async def rolling_round(cluster, tally, rng, count):
    """Under calls that keep coming, every process is told to leave and replaced. Gives how long each took to leave."""
    took = []
    async with running_load(cluster, tally, rng, count):
        for member in cluster.members:
            took.append(await member.stop())
            await member.start()
    return took


@asynccontextmanager
async def running_load(cluster, tally, rng, count, spread=SPREAD):
    """So many callers at once, who call again until the block ends; then what became of their calls is noted."""
    stop, reports = asyncio.Event(), []
    async with asyncio.TaskGroup() as group:
        for _ in range(count):
            group.create_task(_keep_calling(cluster, rng, stop, reports, spread))
        await asyncio.sleep(spread)
        yield
        stop.set()
    await cluster.wait_until_settled()
    await _tally_reports(cluster, tally, reports)


async def _keep_calling(cluster, rng, stop, reports, spread):
    await asyncio.sleep(rng.uniform(0, spread))
    while not stop.is_set():
        reports.append(await _call(cluster, rng, 0))


async def _call(cluster, rng, after):
    await asyncio.sleep(after)
    return await cluster.call(f"{rng.randrange(10_000):04}", max_seconds=2 * START_TIMEOUT_SECONDS)


async def _tally_reports(cluster, tally, reports):
    cut = [report for report in reports if was_cut(report)]
    others = [report for report in reports if not was_cut(report)]
    tally.rounds += 1
    tally.calls += len(reports)
    tally.cut += len(cut)
    tally.failed += await cluster.failed_calls(cut)
    tally.unaffected_failed += await cluster.failed_calls(others)
    for report in reports:
        heard = silences_seconds(report)
        tally.silences_seconds += [gap for gap in heard if gap is not None]
        if not report.dial_results:  # else it went on straight to the department, which is heard, and not by us
            tally.failed += [f"{report.call_sid}: nothing was heard any more"] * heard.count(None)
    tally.late_ms += [report.streams[0].underrun_ms for report in others if len(report.streams) == 1]


def new_rng(seed=0):
    """Where the rounds' chances come from."""
    return random.Random(seed)  # noqa: S311 (chances of tests guard nothing)
