"""Rounds of many calls during which one process is killed, or all processes are restarted in turn.

``python -m tests.resilience`` runs many rounds and prints measurements.
"""

import asyncio
import random
from contextlib import asynccontextmanager

from tests.resilience.cluster import START_TIMEOUT_SECONDS
from tests.resilience.silence import silences_seconds, was_cut

SPREAD_SECONDS = 6.0  # over which the calls of a round start
RESTART_DELAY_SECONDS = 4.0  # from the kill of a process to its restart
CALL_SECONDS = 13.0  # duration of an undisturbed call


async def kill_round(cluster, tally, rng, count):
    """Place ``count`` calls and kill one process during them; it is restarted before the next round."""
    calls = [asyncio.create_task(_call(cluster, rng, rng.uniform(0, SPREAD_SECONDS))) for _ in range(count)]
    await asyncio.sleep(rng.uniform(SPREAD_SECONDS / 2, CALL_SECONDS))
    victim = rng.choice(cluster.members)
    await victim.kill()
    await asyncio.sleep(RESTART_DELAY_SECONDS)  # a start on another machine would not use the CPU of these calls
    restart = asyncio.create_task(victim.start())
    reports = await asyncio.gather(*calls)
    await restart
    await cluster.wait_until_settled()
    await _tally_reports(cluster, tally, reports)


async def rolling_round(cluster, tally, rng, count):
    """Restart every process gracefully under continuous calls; return how many seconds each took to stop."""
    durations = []
    async with running_load(cluster, tally, rng, count):
        for member in cluster.members:
            durations.append(await member.stop())
            await member.start()
    return durations


@asynccontextmanager
async def running_load(cluster, tally, rng, count, spread=SPREAD_SECONDS):
    """Keep ``count`` callers calling until the block ends; then add the outcomes of their calls to the tally."""
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


async def _call(cluster, rng, delay_seconds):
    await asyncio.sleep(delay_seconds)
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
        silences = silences_seconds(report)
        tally.silences_seconds += [silence for silence in silences if silence is not None]
        if not report.dial_results:  # after a transfer the caller hears the department, which has no audio here
            tally.failed += [f"{report.call_sid}: no audio after a stream loss"] * silences.count(None)
    tally.late_ms += [report.streams[0].underrun_ms for report in others if len(report.streams) == 1]


def new_rng(seed=0):
    """Return the random number generator of the rounds."""
    return random.Random(seed)  # noqa: S311 (not used for security)
