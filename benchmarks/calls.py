"""CPU per second of a call: the gateway with an echo flow, a listening flow, and a listening flow that stores calls.

Each server is a process of its own. The figure is its user and system time from when all streams are open until they
end, divided by the seconds of calls in between. The baseline is a bare Starlette echo that does not parse its messages;
only the ratio to it can be compared between machines.
"""

import asyncio
import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import uvloop

from benchmarks.account import ACCOUNT_SID, AUTH_TOKEN, NUMBER
from vocelio.gateway.simulator.caller.babble import unintelligible_speech
from vocelio.gateway.simulator.load import LoadReport, StreamTarget
from vocelio.gateway.simulator.simulator import TwilioSimulator

SERVER_KINDS = ("bare", "echo", "listening", "database")
DURATION_SECONDS = 10.0
WARM_UP_SECONDS = 2.0  # streams open one after the other and play their first prompts
CALLER_AUDIO = b"\xff" * 24_000 + unintelligible_speech(1.0, random.Random(1))
"""3 s of silence, then 1 s of unintelligible speech; repeated."""


class CpuCost(msgspec.Struct, frozen=True):
    """CPU cost of one server at one load. ``ratio`` is relative to the bare echo at the same load."""

    server: str
    calls: int
    cpu_ms_per_call_second: float
    ratio: float
    frames_sent: int
    messages_received: int
    errors: int


def measure(kind: str, calls: int, baseline: float | None = None, seconds: float = DURATION_SECONDS) -> CpuCost:
    """Measure one server under ``calls`` concurrent calls."""
    with running_server(kind) as (process, port):
        cpu, reports = uvloop.run(_run_load(kind, port, process.pid, calls, seconds))
    cpu_ms = cpu * 1000 / (calls * seconds)
    return CpuCost(
        kind,
        calls,
        cpu_ms,
        cpu_ms / (baseline or cpu_ms),
        sum(report.frames_sent for report in reports),
        sum(report.media_messages for report in reports),
        sum(len(report.errors) for report in reports),
    )


def measure_all(calls: tuple[int, ...] = (20, 100), seconds: float = DURATION_SECONDS) -> Iterator[CpuCost]:
    """Measure every server at every load."""
    for count in calls:
        baseline: float | None = None
        for kind in SERVER_KINDS:
            row = measure(kind, count, baseline, seconds)
            baseline = baseline or row.cpu_ms_per_call_second
            yield row


async def _run_load(kind: str, port: int, pid: int, calls: int, seconds: float) -> tuple[float, list[LoadReport]]:
    origin = f"http://127.0.0.1:{port}"
    async with TwilioSimulator(origin, origin, ACCOUNT_SID, AUTH_TOKEN, rng=random.Random(2)) as simulator:
        async with asyncio.TaskGroup() as group:
            tasks = []
            for _ in range(calls):
                target = await _stream_target(simulator, kind, port)
                tasks.append(group.create_task(simulator.stream(target, CALLER_AUDIO, WARM_UP_SECONDS + seconds + 1)))
                await asyncio.sleep(WARM_UP_SECONDS / calls)
            before = _cpu_seconds(pid)
            await asyncio.sleep(seconds)
            used = _cpu_seconds(pid) - before
        return used, [task.result() for task in tasks]


async def _stream_target(simulator: TwilioSimulator, kind: str, port: int) -> StreamTarget:
    if kind == "bare":
        return simulator.bare_stream(f"wss://127.0.0.1:{port}/twilio/media/{ACCOUNT_SID}")
    return await simulator.start_call(NUMBER, "+13105550142")


@contextmanager
def running_server(kind: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """Run a server of that kind; yield its process and its port."""
    with socket.socket() as listener, TemporaryDirectory() as directory:
        listener.bind(("127.0.0.1", 0))  # inherited by the server, so that no other process can take the port
        port = listener.getsockname()[1]
        command = [sys.executable, "-m", "benchmarks.servers", kind, str(listener.fileno())]
        process = subprocess.Popen(command, env={**os.environ, "TMPDIR": directory}, pass_fds=[listener.fileno()])
        listener.close()
        try:
            _wait_until_listening(port)
            yield process, port
        finally:
            process.terminate()
            process.wait(10)


def _wait_until_listening(port: int, tries: int = 600) -> None:
    for _ in range(tries):
        with socket.socket() as probe:
            probe.settimeout(1)
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise RuntimeError("the server did not accept connections in time")


def _cpu_seconds(pid: int) -> float:
    """Return user and system time of a process so far (proc(5): fields 14 and 15 of stat)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
