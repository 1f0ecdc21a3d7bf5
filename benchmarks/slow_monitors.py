"""Slow consumers: monitors that never read among many that do. When are they disconnected, and what do they cost?

The gateway runs in this process, on an SQLite file, with the default limits and heartbeats. Callers, reading monitors
and non-reading monitors run in processes of their own. Besides the events of the calls, large events are published, so
that send queues fill. ``python -m benchmarks.slow_monitors`` exits with an error if a bound is violated.
"""

import asyncio
import json
import os
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

import uvloop
from rich.console import Console
from rich.table import Table

from benchmarks import fanout
from benchmarks.servers import LISTENING_FLOW, make_directory
from vocelio.gateway.api.websockets.push_socket import HeartbeatSettings
from vocelio.gateway.calls.components import CallComponents
from vocelio.gateway.events.pubsub import LocalPubSub
from vocelio.gateway.monitors.key_revocation import MAX_SOCKETS_PER_KEY

READING_MONITORS, NON_READING_MONITORS, CALLS = 450, 50, 10
PHASE_SECONDS = 30.0  # of each phase: calls alone, with reading monitors, with all monitors
EVENTS_PER_SECOND = 10  # besides those of the calls
EVENT_TEXT = "x" * 5_000  # makes 50 kB per second: 8 s of it fill a send queue
MAX_CUT_OFF_SECONDS = 10.0  # from when a connection is full until it is closed
MAX_MEGABYTES_PER_MONITOR = 1.0
MAX_UNDERRUN_MS = 0.0
MAX_P99_INCREASE_MS = 40.0  # of barge-in: two frames
READERS_PER_PROCESS = 225
MEMORY_POLL_SECONDS = 0.1
SETTLE_SECONDS = 1.0  # for monitors to be registered, or to be gone
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class CallerExperience:
    """What callers noticed: underruns (silence within prompts), and barge-in latency in milliseconds."""

    calls: int
    underrun_ms: float
    interruptions: int
    p50_ms: float
    p99_ms: float
    errors: int


@dataclass(frozen=True, slots=True)
class Result:
    """Result of all phases.

    ``cut_off_seconds`` has one value for each non-reading monitor. Memory is given before, at its peak, and after;
    ``kernel_megabytes`` is that of all TCP connections of the machine. ``caller_experience`` has one value per phase.
    """

    cut_off_seconds: list[float]
    gateway_megabytes: tuple[float, float, float]
    kernel_megabytes: tuple[float, float, float]
    delivered_share: float
    gaps: int
    closed_sockets: int
    caller_experience: list[CallerExperience]

    def violated_bounds(self) -> list[str]:
        """Return the names of the bounds that were violated."""
        readers_only, everyone = self.caller_experience[-2:][0], self.caller_experience[-1]
        cost = (self.gateway_megabytes[1] - self.gateway_megabytes[0]) / len(self.cut_off_seconds)
        bounds = {
            f"cut off within {MAX_CUT_OFF_SECONDS:.0f} s": max(self.cut_off_seconds) <= MAX_CUT_OFF_SECONDS,
            f"at most {MAX_MEGABYTES_PER_MONITOR:.0f} MB per non-reading monitor": cost <= MAX_MEGABYTES_PER_MONITOR,
            "reading monitors receive every event": (self.delivered_share, self.gaps, self.closed_sockets)
            == (1.0, 0, 0),
            "no silence in prompts": all(phase.underrun_ms <= MAX_UNDERRUN_MS for phase in self.caller_experience),
            "barge-in as before": everyone.p99_ms <= readers_only.p99_ms + MAX_P99_INCREASE_MS,
            "no call fails": not any(phase.errors for phase in self.caller_experience),
        }
        return [name for name, is_met in bounds.items() if not is_met]


class MemoryProbe:
    """Sample the memory of this process and of the kernel's TCP connections (MB) and keep the peak."""

    def __init__(self) -> None:
        self.peak = (0.0, 0.0)

    async def run(self) -> None:
        """Sample until cancelled."""
        while True:
            self.peak = tuple(map(max, zip(self.peak, self.read(), strict=True)))  # type: ignore[assignment]
            await asyncio.sleep(MEMORY_POLL_SECONDS)

    def read(self) -> tuple[float, float]:
        """Return the memory of this process (proc(5): statm) and of all TCP connections (sockstat)."""
        own = int(Path("/proc/self/statm").read_text().split()[1])
        words = next(line for line in Path("/proc/net/sockstat").read_text().splitlines() if line.startswith("TCP:"))
        return own * PAGE_BYTES / 1e6, int(words.split()[-1]) * PAGE_BYTES / 1e6


async def measure(
    readers: int = READING_MONITORS,
    non_readers: int = NON_READING_MONITORS,
    calls: int = CALLS,
    seconds: float = PHASE_SECONDS,
    events_per_second: int = EVENTS_PER_SECOND,
    heartbeat: HeartbeatSettings | None = None,
    *,
    all_phases: bool = True,
) -> Result:
    """Run all phases, or only the one with all monitors."""
    async with AsyncExitStack() as stack:
        url = f"sqlite+aiosqlite:///{stack.enter_context(TemporaryDirectory())}/bench.db"
        keys = await fanout.create_keys(url, -(-readers // MAX_SOCKETS_PER_KEY) + 1)
        gateway = fanout.running_gateway(url, LocalPubSub(), make_directory(LISTENING_FLOW), heartbeat)
        origin, components = await stack.enter_async_context(gateway)
        port, experience = str(urlsplit(origin).port), list[CallerExperience]()
        if all_phases:
            experience.append(await _run_callers(port, calls, seconds))
        counts = [min(READERS_PER_PROCESS, readers - begin) for begin in range(0, readers, READERS_PER_PROCESS)]
        reading = [await fanout.start_readers(origin, keys[1:], count) for count in counts]
        for process in reading:
            await fanout.wait_until_ready(process)
        published = 0
        if all_phases:
            count, phase = await _publish_during_calls(components, events_per_second, port, calls, seconds)
            published += count
            experience.append(phase)
        await asyncio.sleep(SETTLE_SECONDS)
        memory = MemoryProbe()
        before, sampling = memory.read(), asyncio.create_task(memory.run())
        non_reading = await fanout.start_process(
            "non_reading_monitors",
            origin,
            json.dumps(fanout.auth_headers(keys[0])),
            str(non_readers),
            str(seconds + MAX_CUT_OFF_SECONDS),
        )
        await fanout.wait_until_ready(non_reading)
        count, phase = await _publish_during_calls(components, events_per_second, port, calls, seconds)
        published += count
        experience.append(phase)
        cut_off_seconds = json.loads((await non_reading.communicate())[0])
        await asyncio.sleep(SETTLE_SECONDS)
        sampling.cancel()
        after = memory.read()
        statistics = [json.loads((await process.communicate(b"\n"))[0]) for process in reading]
    delivered_share = sum(len(each["latencies_ms"]) for each in statistics) / (published * readers)
    gaps, closed_sockets = (sum(each[name] for each in statistics) for name in ("gaps", "closed_sockets"))
    own, kernel = zip(before, memory.peak, after, strict=True)
    return Result(cut_off_seconds, own, kernel, delivered_share, gaps, closed_sockets, experience)


async def _publish_during_calls(
    components: CallComponents, events_per_second: int, port: str, calls: int, seconds: float
) -> tuple[int, CallerExperience]:
    publishing = fanout.publish_events(components, events_per_second, seconds, EVENT_TEXT)
    published, experience = await asyncio.gather(publishing, _run_callers(port, calls, seconds))
    return published, experience


async def _run_callers(port: str, calls: int, seconds: float) -> CallerExperience:
    process = await fanout.start_process("barge_in", port, str(calls), str(seconds))
    return CallerExperience(**json.loads((await process.communicate())[0]))


def main() -> None:
    """Print the tables; exit with an error if a bound is violated."""
    result = uvloop.run(measure())
    _print_tables(result)
    if violated := result.violated_bounds():
        raise SystemExit(f"violated bounds: {'; '.join(violated)}")


def _print_tables(result: Result) -> None:
    table = Table("", "calls", "silence ms", "interruptions", "p50 ms", "p99 ms", "errors", box=None)
    for name, phase in zip(("calls alone", "reading monitors", "all monitors"), result.caller_experience, strict=True):
        figures = (
            f"{phase.underrun_ms:.0f}",
            phase.interruptions,
            f"{phase.p50_ms:.0f}",
            f"{phase.p99_ms:.0f}",
            phase.errors,
        )
        table.add_row(name, *map(str, (phase.calls, *figures)))
    Console().print(table)
    table = Table("", "before", "peak", "after", box=None)
    table.add_row("MB of the gateway process", *(f"{megabytes:.1f}" for megabytes in result.gateway_megabytes))
    table.add_row("MB of the kernel's TCP connections", *(f"{megabytes:.1f}" for megabytes in result.kernel_megabytes))
    Console().print(table)
    seconds = result.cut_off_seconds
    print(f"{len(seconds)} non-reading monitors were disconnected after {min(seconds):.1f} to {max(seconds):.1f} s")
    print(
        f"reading monitors: delivered share {result.delivered_share:.4f}, gaps {result.gaps}, "
        f"closed sockets {result.closed_sockets}"
    )


if __name__ == "__main__":
    main()
