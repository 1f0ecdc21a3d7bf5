"""The parent of several processes: it replaces what dies, passes signals on, and leaves nobody behind."""

import asyncio
import contextlib
import os
import resource
import signal
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
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
from vocelio.gateway.server.supervisor import Parent
async def main():
    told = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told.set)
    Parent(int(sys.argv[1])).ready(told.set)
    await told.wait()
asyncio.run(main())
"""
DEAF = SERVES.replace("signal.SIGTERM, told.set", "signal.SIGTERM, lambda: None")
ENDS = "import sys; sys.exit(2)"
FAILS = "import sys; sys.exit(3)"
DIES_SOON = SERVES.replace("await told.wait()", "await asyncio.wait_for(told.wait(), 0.2)")


class Family:
    """A running parent."""

    def __init__(self, process):
        self.process, self.told = process, []

    async def says(self, words):
        """The next line that it logs with these words in it."""
        async with asyncio.timeout(20):
            while True:
                line = (await self.process.stderr.readline()).decode()
                assert line, f"it ended without a word of {words!r}: {self.told}"
                self.told.append(line)
                if words in line:
                    return line

    async def serving(self, count):
        """The workers' process ids, once so many have said that they serve."""
        return [int((await self.says("serves")).split()[1]) for _ in range(count)]

    def send(self, number):
        """Send the parent a signal."""
        self.process.send_signal(number)

    async def ended(self):
        """Its exit code."""
        async with asyncio.timeout(20):
            self.told.append((await self.process.stderr.read()).decode())
            return await self.process.wait()


@contextlib.asynccontextmanager
async def family(worker, count=2, drain=0, parent=PARENT):
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", parent, worker, str(count), str(drain)),
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    try:
        yield Family(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def gone(*pids):
    """Until none of them is there."""
    async with asyncio.timeout(20):
        while any(map(_is_there, pids)):  # noqa: ASYNC110 (they are not our children)
            await asyncio.sleep(0.02)


def _is_there(pid):
    return Path(f"/proc/{pid}").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_all_leave_when_the_parent_is_told_to(number):
    async with family(SERVES, 3) as running:
        pids = await running.serving(3)
        assert len(set(pids)) == 3
        running.send(number)
        assert await running.ended() == 0
        await gone(*pids)


async def test_who_dies_is_replaced():
    async with family(SERVES) as running:
        first, other = await running.serving(2)
        os.kill(first, signal.SIGKILL)
        assert f"worker {first} ended with -9" in await running.says("another follows")
        (new,) = await running.serving(1)
        assert new not in (first, other)
        running.send(signal.SIGTERM)
        assert await running.ended() == 0
        await gone(new, other)


async def test_who_dies_again_and_again_is_replaced_more_and_more_slowly():
    async with family(DIES_SOON, 1) as running:
        pauses = [float((await running.says("another follows")).split()[-2]) for _ in range(3)]
        assert pauses == [0.5, 1.0, 2.0]
        running.send(signal.SIGTERM)
        assert await running.ended() == 0


async def test_what_is_wrong_with_the_first_is_wrong_with_all():
    async with family(ENDS) as running:
        assert await running.ended() == 2
        assert "none has ever served" in running.told[-1]
        assert "another follows" not in running.told[-1]


async def test_who_cannot_start_is_tried_three_times():
    async with family(FAILS, 1) as running:
        assert await running.ended() == 3
        assert running.told[-1].count("another follows") == 2


async def test_when_another_cannot_be_started_those_who_serve_stay_and_it_is_tried_again():
    async with family(SERVES) as running:
        first, other = await running.serving(2)
        limits = resource.prlimit(running.process.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(running.process.pid, resource.RLIMIT_NOFILE, (0, limits[1]))  # no descriptor is to be had
        os.kill(first, signal.SIGKILL)
        assert "another follows in 1 s" in await running.says("could not be started")
        assert _is_there(other)
        resource.prlimit(running.process.pid, resource.RLIMIT_NOFILE, limits)
        (new,) = await running.serving(1)
        running.send(signal.SIGTERM)
        assert await running.ended() == 0
        await gone(new, other)


async def test_when_none_can_be_started_it_is_tried_three_times():
    async with family(SERVES, 1, parent=NOT_STARTED) as running:
        assert await running.ended() == 1
        assert running.told[-1].count("could not be started") == 3
        assert "none has ever served" in running.told[-1]


async def test_when_the_parent_is_killed_the_others_leave():
    async with family(SERVES) as running:
        pids = await running.serving(2)
        running.send(signal.SIGKILL)
        assert await running.ended() == -signal.SIGKILL
        await gone(*pids)


async def test_whoever_does_not_leave_is_killed():
    async with family(DEAF, drain=-14) as running:  # one second in all
        pids = await running.serving(2)
        began = time.monotonic()
        running.send(signal.SIGTERM)
        assert await running.ended() == 1
        assert 0.9 < time.monotonic() - began < 10
        await gone(*pids)


async def test_control_c_at_a_terminal_comes_to_the_parent_alone():
    async with family(SERVES) as running:
        pids = await running.serving(2)
        assert len({os.getpgid(pid) for pid in (*pids, running.process.pid)}) == 3
        running.send(signal.SIGTERM)
        assert await running.ended() == 0
