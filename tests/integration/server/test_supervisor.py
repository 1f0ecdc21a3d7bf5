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

from tests.support.resource_checks import process_exists

ROOT = Path(__file__).parents[3]
PARENT = """
import logging, sys
from vocelio.gateway.server.sockets import reserve_port, share_port
from vocelio.gateway.server.supervisor import Supervisor
logging.basicConfig(level=logging.INFO, format="%(message)s")
worker, count, drain = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
def command(*arguments):
    return ["-c", worker, *map(str, arguments)]
with reserve_port("127.0.0.1", 0) as reserved:
    logging.info("port %d", reserved.getsockname()[1])
    sys.exit(Supervisor(command, lambda: share_port(reserved), count, drain).run())
"""
NOT_STARTED = PARENT.replace("worker, count", "sys.executable = '/nothing/is/here'\nworker, count")
SERVES = """
import asyncio, os, signal, socket, sys
from vocelio.gateway.server.supervisor import SupervisorChannel
async def answer(reader, writer):
    writer.write(f"{os.getpid()} {sys.argv[3]}".encode())
    writer.close()
async def main():
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    server = await asyncio.start_server(answer, sock=socket.socket(fileno=int(sys.argv[2])))
    channel = SupervisorChannel(int(sys.argv[1]))
    channel.notify_ready(stopped.set)
    await stopped.wait()
    server.close()
    channel.notify_closed()
asyncio.run(main())
"""
"""A worker that answers each connection with its process id and task."""
DEAF = SERVES.replace("signal.SIGTERM, stopped.set", "signal.SIGTERM, lambda: None")
FAILS_TO_UPGRADE = SERVES.replace("async def main():", "if sys.argv[3] == 'upgrade': sys.exit(4)\nasync def main():")
ENDS = "import sys; sys.exit(2)"
FAILS = "import sys; sys.exit(3)"
DIES_SOON = SERVES.replace("await stopped.wait()", "await asyncio.wait_for(stopped.wait(), 0.2)")


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

    async def connect(self):
        """Connect to any worker; return its process id and task."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            async with asyncio.timeout(20):
                pid, task = (await reader.read()).decode().split()
        finally:
            writer.close()
        return int(pid), task

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
        running = SupervisorProcess(process)
        running.port = int((await running.wait_for_output("port")).split()[1])
        yield running
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def wait_until_gone(*pids):
    """Wait until none of these processes exists."""
    async with asyncio.timeout(20):
        while any(map(process_exists, pids)):  # noqa: ASYNC110 (they are not our children)
            await asyncio.sleep(0.02)


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
        assert "exited" not in running.lines[-1], "the worker has said why"


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
        assert process_exists(other)
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


async def test_sighup_replaces_all_workers_one_after_the_other():
    async with running_supervisor(SERVES) as running:
        before = await running.wait_for_workers(2)
        running.send_signal(signal.SIGHUP)
        after = await running.wait_for_workers(2)
        await running.wait_for_output("all workers have been replaced")
        assert not set(before) & set(after)
        await wait_until_gone(*before)
        tasks = {}
        while len(tasks) < 2:
            pid, tasks[pid] = await running.connect()
        assert sorted(tasks) == sorted(after)
        assert [tasks[pid] for pid in after] == ["upgrade", "none"], "the first successor migrates the database"
        running.send_signal(signal.SIGTERM)
        assert await running.wait() == 0
        await wait_until_gone(*after)


@pytest.mark.parametrize("count", [1, 2])
async def test_no_connection_is_refused_while_workers_are_replaced(count):
    async with running_supervisor(SERVES, count) as running:
        await running.wait_for_workers(count)
        replaced = asyncio.Event()

        async def connect_all_the_time():
            pids = []
            while not replaced.is_set():
                pids.append((await running.connect())[0])
            return pids

        connecting = asyncio.create_task(connect_all_the_time())
        for _ in range(3):
            running.send_signal(signal.SIGHUP)
            await running.wait_for_output("all workers have been replaced")
        replaced.set()
        pids = await connecting
        assert len(set(pids)) > count
        running.send_signal(signal.SIGTERM)
        assert await running.wait() == 0


async def test_workers_are_kept_if_the_new_version_does_not_start():
    async with running_supervisor(FAILS_TO_UPGRADE) as running:
        before = await running.wait_for_workers(2)
        running.send_signal(signal.SIGHUP)
        assert "exited with 4" in await running.wait_for_output("the workers that run are kept")
        assert all(map(process_exists, before))
        assert (await running.connect())[0] in before
        running.send_signal(signal.SIGTERM)
        assert await running.wait() == 0


async def test_connection_waits_for_the_restart_of_the_only_worker():
    async with running_supervisor(SERVES, 1) as running:
        (first,) = await running.wait_for_workers(1)
        os.kill(first, signal.SIGKILL)
        await wait_until_gone(first)
        pid, task = await running.connect()
        assert (pid != first, task) == (True, "none")
        running.send_signal(signal.SIGTERM)
        assert await running.wait() == 0


async def test_connections_of_a_dead_worker_go_to_the_others():
    async with running_supervisor(SERVES) as running:
        first, other = await running.wait_for_workers(2)
        os.kill(first, signal.SIGKILL)
        await running.wait_for_output("restarting in")
        pids = {(await running.connect())[0] for _ in range(20)}
        assert other in pids
        running.send_signal(signal.SIGTERM)
        assert await running.wait() == 0


async def test_shutdown_closes_the_port_after_the_last_worker():
    async with running_supervisor(SERVES) as running:
        await running.wait_for_workers(2)
        running.send_signal(signal.SIGTERM)
        assert await running.wait() == 0
        with pytest.raises(ConnectionRefusedError):
            await running.connect()
