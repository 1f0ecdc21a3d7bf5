"""Supervisor: restarts workers, forwards signals, and leaves no process behind."""

import asyncio
import contextlib
import os
import resource
import signal
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PARENT = """
import logging, sys
from vocelio.gateway.server.supervisor import Supervisor
logging.basicConfig(level=logging.INFO, format="%(message)s")
worker, count, drain = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
sys.exit(Supervisor(lambda channel: ["-c", worker, str(channel)], count, drain).run())
"""
NOT_STARTED = PARENT.replace("worker, count", "sys.executable = '/nothing/is/here'\nworker, count")
SERVES = """
import asyncio, os, signal, sys
from vocelio.gateway.server.supervisor import SupervisorChannel
async def main():
    told = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told.set)
    SupervisorChannel(int(sys.argv[1])).notify_ready(told.set)
    await told.wait()
asyncio.run(main())
"""
DEAF = SERVES.replace("signal.SIGTERM, told.set", "signal.SIGTERM, lambda: None")
ENDS = "import sys; sys.exit(2)"
FAILS = "import sys; sys.exit(3)"
DIES_SOON = SERVES.replace("await told.wait()", "await asyncio.wait_for(told.wait(), 0.2)")


class SupervisorProcess:
    """A running supervisor."""

    def __init__(self, process):
        self.process, self.lines = process, []

    async def wait_for_output(self, words):
        """Return the next log line that contains these words."""
        async with asyncio.timeout(20):
            while True:
                line = (await self.process.stderr.readline()).decode()
                assert line, f"it exited without logging {words!r}: {self.lines}"
                self.lines.append(line)
                if words in line:
                    return line

    async def wait_for_workers(self, count):
        """Wait until this many workers are ready; return their process ids."""
        return [int((await self.wait_for_output("is ready")).split()[1]) for _ in range(count)]

    def send_signal(self, number):
        """Send the supervisor a signal."""
        self.process.send_signal(number)

    async def wait(self):
        """Its exit code."""
        async with asyncio.timeout(20):
            self.lines.append((await self.process.stderr.read()).decode())
            return await self.process.wait()


@contextlib.asynccontextmanager
async def running_supervisor(worker, count=2, drain=0, parent=PARENT):
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", parent, worker, str(count), str(drain)),
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    try:
        yield SupervisorProcess(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def wait_until_gone(*pids):
    """Wait until none of these processes exists."""
    async with asyncio.timeout(20):
        while any(map(_process_exists, pids)):  # noqa: ASYNC110 (they are not our children)
            await asyncio.sleep(0.02)


def _process_exists(pid):
    return Path(f"/proc/{pid}").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_signal_to_the_supervisor_stops_all_workers(number):
    async with running_supervisor(SERVES, 3) as running:
        pids = await running.wait_for_workers(3)
        assert len(set(pids)) == 3
        running.send_signal(number)
        assert await running.wait() == 0
        await wait_until_gone(*pids)


async def test_crashed_worker_is_restarted():
    async with running_supervisor(SERVES) as running:
        first, other = await running.wait_for_workers(2)
        os.kill(first, signal.SIGKILL)
        assert f"worker {first} exited with -9" in await running.wait_for_output("restarting in")
        (new,) = await running.wait_for_workers(1)
        assert new not in (first, other)
        running.send_signal(signal.SIGTERM)
        assert await running.wait() == 0
        await wait_until_gone(new, other)


async def test_repeatedly_crashing_worker_is_restarted_with_backoff():
    async with running_supervisor(DIES_SOON, 1) as running:
        pauses = [float((await running.wait_for_output("restarting in")).split()[-2]) for _ in range(3)]
        assert pauses == [0.5, 1.0, 2.0]
        running.send_signal(signal.SIGTERM)
        assert await running.wait() == 0


async def test_settings_error_of_the_first_worker_stops_all():
    async with running_supervisor(ENDS) as running:
        assert await running.wait() == 2
        assert "no worker has ever been ready" in running.lines[-1]
        assert "restarting in" not in running.lines[-1]


async def test_worker_that_cannot_start_is_tried_three_times():
    async with running_supervisor(FAILS, 1) as running:
        assert await running.wait() == 3
        assert running.lines[-1].count("restarting in") == 2


async def test_failed_restart_is_retried_while_other_workers_serve():
    async with running_supervisor(SERVES) as running:
        first, other = await running.wait_for_workers(2)
        limits = resource.prlimit(running.process.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(running.process.pid, resource.RLIMIT_NOFILE, (0, limits[1]))  # no descriptor is available
        os.kill(first, signal.SIGKILL)
        assert "restarting in 1 s" in await running.wait_for_output("could not be started")
        assert _process_exists(other)
        resource.prlimit(running.process.pid, resource.RLIMIT_NOFILE, limits)
        (new,) = await running.wait_for_workers(1)
        running.send_signal(signal.SIGTERM)
        assert await running.wait() == 0
        await wait_until_gone(new, other)


async def test_failed_spawn_of_the_first_worker_is_tried_three_times():
    async with running_supervisor(SERVES, 1, parent=NOT_STARTED) as running:
        assert await running.wait() == 1
        assert running.lines[-1].count("could not be started") == 3
        assert "no worker has ever been ready" in running.lines[-1]


async def test_workers_exit_when_the_supervisor_is_killed():
    async with running_supervisor(SERVES) as running:
        pids = await running.wait_for_workers(2)
        running.send_signal(signal.SIGKILL)
        assert await running.wait() == -signal.SIGKILL
        await wait_until_gone(*pids)


async def test_worker_that_does_not_exit_is_killed():
    async with running_supervisor(DEAF, drain=-14) as running:  # one second in all
        pids = await running.wait_for_workers(2)
        began = time.monotonic()
        running.send_signal(signal.SIGTERM)
        assert await running.wait() == 1
        assert 0.9 < time.monotonic() - began < 10
        await wait_until_gone(*pids)


async def test_workers_have_their_own_process_groups():
    async with running_supervisor(SERVES) as running:
        pids = await running.wait_for_workers(2)
        assert len({os.getpgid(pid) for pid in (*pids, running.process.pid)}) == 3
        running.send_signal(signal.SIGTERM)
        assert await running.wait() == 0
