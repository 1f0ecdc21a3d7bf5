"""Restarts of a gateway on one machine, with no other process to take its calls."""

import asyncio
import os
import signal

from tests.resilience.kill_rounds import running_load
from tests.support.resource_checks import process_exists
from vocelio.gateway.store.db.schema import processes

RESTART_SECONDS = 60


async def reload_round(machine, tally, rng, count, workers=1):
    """Replace the workers by SIGHUP under continuous calls: their calls are handed over to the new ones."""
    async with running_load(machine, tally, rng, count):
        await reload(machine, workers)


async def worker_kill_round(machine, tally, rng, count):
    """Kill the only worker under continuous calls: the supervisor restarts it, and Twilio's requests wait for it."""
    async with running_load(machine, tally, rng, count):
        (pid,) = await worker_pids(machine)
        os.kill(pid, signal.SIGKILL)
        await _wait_for_new_workers(machine, {pid}, 1)


async def reload(machine, workers=1):
    """Replace the workers of the only member, and wait until the new ones serve."""
    before = await worker_pids(machine)
    machine.members[0].reload()
    await _wait_for_new_workers(machine, before, workers)


async def worker_pids(machine):
    """Return the process ids of the workers that have a heartbeat and exist."""
    return {
        row.pid for row in await machine.rows(processes, processes.c.draining.is_(False)) if process_exists(row.pid)
    }


async def _wait_for_new_workers(machine, before, count):
    async with asyncio.timeout(RESTART_SECONDS):
        while any(map(process_exists, before)) or len(await worker_pids(machine)) != count:  # noqa: ASYNC110 (other processes)
            await asyncio.sleep(0.1)
