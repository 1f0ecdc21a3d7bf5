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

from benchmarks.account import ACCOUNT, NUMBER, TOKEN
from vocelio.gateway.simulator.caller.babble import babble
from vocelio.gateway.simulator.load import LoadReport, Ticket
from vocelio.gateway.simulator.simulator import Carrier

KINDS = ("bare", "echo", "listening", "stored")
SECONDS = 10.0
WARM_UP = 2.0  # seconds: streams open one after the other, first prompts are spoken
SOUND = b"\xff" * 24_000 + babble(1.0, random.Random(1))
"""3 s of silence, 1 s of somebody's voice, again and again."""


class Row(msgspec.Struct, frozen=True):
    """One measurement. ``cpu_ms`` is milliseconds of CPU for one second of one call."""

    server: str
    calls: int
    cpu_ms: float
    ratio: float
    sent: int
    received: int
    errors: int


def measure(kind: str, calls: int, baseline: float | None = None, seconds: float = SECONDS) -> Row:
    """One server under so many calls."""
    with serving(kind) as (process, port):
        cpu, reports = uvloop.run(_load(kind, port, process.pid, calls, seconds))
    cpu_ms = cpu * 1000 / (calls * seconds)
    return Row(
        kind,
        calls,
        cpu_ms,
        cpu_ms / (baseline or cpu_ms),
        sum(report.sent for report in reports),
        sum(report.messages for report in reports),
        sum(len(report.errors) for report in reports),
    )


def run(calls: tuple[int, ...] = (20, 100), seconds: float = SECONDS) -> Iterator[Row]:
    """Every server at every load."""
    for count in calls:
        baseline: float | None = None
        for kind in KINDS:
            row = measure(kind, count, baseline, seconds)
            baseline = baseline or row.cpu_ms
            yield row


async def _load(kind: str, port: int, pid: int, calls: int, seconds: float) -> tuple[float, list[LoadReport]]:
    origin = f"http://127.0.0.1:{port}"
    async with Carrier(origin, origin, ACCOUNT, TOKEN, rng=random.Random(2)) as carrier:
        async with asyncio.TaskGroup() as group:
            tasks = []
            for _ in range(calls):
                ticket = await _ticket(carrier, kind, port)
                tasks.append(group.create_task(carrier.stream(ticket, SOUND, WARM_UP + seconds + 1)))
                await asyncio.sleep(WARM_UP / calls)
            before = _cpu_seconds(pid)
            await asyncio.sleep(seconds)
            used = _cpu_seconds(pid) - before
        return used, [task.result() for task in tasks]


async def _ticket(carrier: Carrier, kind: str, port: int) -> Ticket:
    if kind == "bare":
        return carrier.ticket(f"wss://127.0.0.1:{port}/twilio/media/{ACCOUNT}")
    return await carrier.ring(NUMBER, "+13105550142")


@contextmanager
def serving(kind: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A server of that kind: its process and its port."""
    with socket.socket() as place, TemporaryDirectory() as folder:
        place.bind(("127.0.0.1", 0))  # and handed down, so that nobody else can take the port meanwhile
        port = place.getsockname()[1]
        command = [sys.executable, "-m", "benchmarks.servers", kind, str(place.fileno())]
        process = subprocess.Popen(command, env={**os.environ, "TMPDIR": folder}, pass_fds=[place.fileno()])
        place.close()
        try:
            _wait_until_it_listens(port)
            yield process, port
        finally:
            process.terminate()
            process.wait(10)


def _wait_until_it_listens(port: int, tries: int = 600) -> None:
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
