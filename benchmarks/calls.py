"""CPU per second of a call: the gateway on an echo flow, on a listening flow, and on the same with every call kept in
an SQLite file, beside a bare Starlette echo.

Each server is a process of its own; its user and system time between the moment when all streams are open and
the moment when they end, divided by the seconds of calls in between, is the figure. The ratio to the bare echo,
which never reads what it returns, is what compares between machines.
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

SERVER_KINDS = ("bare", "echo", "listening", "stored")
DURATION_SECONDS = 10.0
WARM_UP_SECONDS = 2.0  # seconds: streams open one after the other, first prompts are spoken
CALLER_AUDIO = b"\xff" * 24_000 + unintelligible_speech(1.0, random.Random(1))
"""3 s of silence, 1 s of somebody's voice, again and again."""


class CpuCost(msgspec.Struct, frozen=True):
    """One measurement. ``cpu_ms`` is milliseconds of CPU for one second of one call."""

    server: str
    calls: int
    cpu_ms_per_call_second: float
    ratio: float
    frames_sent: int
    messages_received: int
    errors: int


def measure(kind: str, calls: int, baseline: float | None = None, seconds: float = DURATION_SECONDS) -> CpuCost:
    """One server under so many calls."""
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
    """Every server at every load."""
    for count in calls:
        baseline: float | None = None
        for kind in SERVER_KINDS:
            row = measure(kind, count, baseline, seconds)
            baseline = baseline or row.cpu_ms_per_call_second
            yield row


async def _run_load(kind: str, port: int, pid: int, calls: int, seconds: float) -> tuple[float, list[LoadReport]]:
    origin = f"http://127.0.0.1:{port}"
    async with TwilioSimulator(origin, origin, ACCOUNT_SID, AUTH_TOKEN, rng=random.Random(2)) as carrier:
        async with asyncio.TaskGroup() as group:
            tasks = []
            for _ in range(calls):
                ticket = await _stream_target(carrier, kind, port)
                tasks.append(group.create_task(carrier.stream(ticket, CALLER_AUDIO, WARM_UP_SECONDS + seconds + 1)))
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
    """A server of that kind: its process and its port."""
    with socket.socket() as place, TemporaryDirectory() as folder:
        place.bind(("127.0.0.1", 0))  # and handed down, so that nobody else can take the port meanwhile
        port = place.getsockname()[1]
        command = [sys.executable, "-m", "benchmarks.servers", kind, str(place.fileno())]
        process = subprocess.Popen(command, env={**os.environ, "TMPDIR": folder}, pass_fds=[place.fileno()])
        place.close()
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
    raise RuntimeError("the server does not listen")


def _cpu_seconds(pid: int) -> float:
    """User and system time of a process so far (proc(5), fields 14 and 15 of stat)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
