"""Monitors that never read, among many that do: when they are cut off, what they cost, and who notices.

The gateway is this process, on an SQLite file, with the product's limits and pace; the calls are in a second one, the
monitors who read in two more, and those who do not in a last one, which sees from outside what becomes of them. Events
are those of the calls, and some large ones beside, so that outboxes fill. Run it: ``python -m benchmarks.crowd``; it
fails when a bound is broken.
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
PHASE_SECONDS = 30.0  # of each part: the calls alone; with those who read; and with those who do not
EVENTS_PER_SECOND, EVENT_TEXT = (
    10,
    "x" * 5_000,
)  # events a second besides the calls' own, 50 kB: 8 s of them are an outbox full
MAX_CUT_OFF_SECONDS, MAX_MEGABYTES_PER_MONITOR, MAX_UNDERRUN_MS, MAX_P99_INCREASE_MS = (
    10.0,
    1.0,
    0.0,
    40.0,
)  # what may be at most; the last by two frames
READERS_PER_PROCESS = 225  # readers in one process
MEMORY_POLL_SECONDS = 0.1  # seconds between two looks at the memory
SETTLE_SECONDS = 1.0  # seconds for monitors to have come, or to be gone
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class CallerExperience:
    """What callers noticed: ms of silence within prompts, and from their voice to the prompt's end."""

    calls: int
    underrun_ms: float
    interruptions: int
    p50_ms: float
    p99_ms: float
    errors: int


@dataclass(frozen=True, slots=True)
class Result:
    """``cut_off`` has the seconds of each who does not read; ``megabytes`` are memory before, at most, and after.

    ``kernel`` are the same of the kernel's for all connections of the machine. ``sound`` is of the calls alone, with
    those who read, and with all.
    """

    cut_off_seconds: list[float]
    gateway_megabytes: tuple[float, float, float]
    kernel_megabytes: tuple[float, float, float]
    delivered_share: float
    gaps: int
    closed_sockets: int
    caller_experience: list[CallerExperience]

    def violated_bounds(self) -> list[str]:
        """The bounds that were not kept."""
        readers, everybody = self.caller_experience[-2:][0], self.caller_experience[-1]
        cost = (self.gateway_megabytes[1] - self.gateway_megabytes[0]) / len(self.cut_off_seconds)
        bounds = {
            f"cut off within {MAX_CUT_OFF_SECONDS:.0f} s": max(self.cut_off_seconds) <= MAX_CUT_OFF_SECONDS,
            f"at most {MAX_MEGABYTES_PER_MONITOR:.0f} MB each": cost <= MAX_MEGABYTES_PER_MONITOR,
            "the others get everything": (self.delivered_share, self.gaps, self.closed_sockets) == (1.0, 0, 0),
            "no silence in prompts": all(one.underrun_ms <= MAX_UNDERRUN_MS for one in self.caller_experience),
            "callers interrupt as before": everybody.p99_ms <= readers.p99_ms + MAX_P99_INCREASE_MS,
            "no call goes wrong": not any(one.errors for one in self.caller_experience),
        }
        return [name for name, kept in bounds.items() if not kept]


class MemoryProbe:
    """This process's and the kernel's, in MB, looked at all the time."""

    def __init__(self) -> None:
        self.peak = (0.0, 0.0)

    async def run(self) -> None:
        """For ever."""
        while True:
            self.peak = tuple(map(max, zip(self.peak, self.read(), strict=True)))  # type: ignore[assignment]
            await asyncio.sleep(MEMORY_POLL_SECONDS)

    def read(self) -> tuple[float, float]:
        """This process's (proc(5), statm), and that of all TCP connections (sockstat)."""
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
    """All parts, or if not ``whole`` only that with all monitors."""
    async with AsyncExitStack() as stack:
        url = f"sqlite+aiosqlite:///{stack.enter_context(TemporaryDirectory())}/bench.db"
        keys = await fanout.create_keys(url, -(-readers // MAX_SOCKETS_PER_KEY) + 1)
        gateway = fanout.running_gateway(url, LocalPubSub(), make_directory(LISTENING_FLOW), heartbeat)
        origin, registry = await stack.enter_async_context(gateway)
        port, sound = str(urlsplit(origin).port), list[CallerExperience]()
        if all_phases:
            sound.append(await _run_callers(port, calls, seconds))
        shares = [min(READERS_PER_PROCESS, readers - begin) for begin in range(0, readers, READERS_PER_PROCESS)]
        watching = [await fanout.start_readers(origin, keys[1:], share) for share in shares]
        for process in watching:
            await fanout.wait_until_ready(process)
        told = 0
        if all_phases:
            more, heard = await _publish_during_calls(registry, events_per_second, port, calls, seconds)
            told += more
            sound.append(heard)
        await asyncio.sleep(SETTLE_SECONDS)
        memory = MemoryProbe()
        before, looking = memory.read(), asyncio.create_task(memory.run())
        ears = await fanout.start_process(
            "deaf",
            origin,
            json.dumps(fanout.auth_headers(keys[0])),
            str(non_readers),
            str(seconds + MAX_CUT_OFF_SECONDS),
        )
        await fanout.wait_until_ready(ears)
        more, heard = await _publish_during_calls(registry, events_per_second, port, calls, seconds)
        told += more
        sound.append(heard)
        cut_off = json.loads((await ears.communicate())[0])
        await asyncio.sleep(SETTLE_SECONDS)
        looking.cancel()
        after = memory.read()
        seen = [json.loads((await process.communicate(b"\n"))[0]) for process in watching]
    arrived = sum(len(one["latencies"]) for one in seen) / (told * readers)
    gaps, ended = (sum(one[name] for one in seen) for name in ("gaps", "ended"))
    own, kernel = zip(before, memory.peak, after, strict=True)
    return Result(cut_off, own, kernel, arrived, gaps, ended, sound)


async def _publish_during_calls(
    components: CallComponents, events_per_second: int, port: str, calls: int, seconds: float
) -> tuple[int, CallerExperience]:
    telling = fanout.publish_events(components, events_per_second, seconds, EVENT_TEXT)
    told, sound = await asyncio.gather(telling, _run_callers(port, calls, seconds))
    return told, sound


async def _run_callers(port: str, calls: int, seconds: float) -> CallerExperience:
    process = await fanout.start_process("callers", port, str(calls), str(seconds))
    return CallerExperience(**json.loads((await process.communicate())[0]))


def main() -> None:
    """Print the tables."""
    result = uvloop.run(measure())
    _print_tables(result)
    if broken := result.violated_bounds():
        raise SystemExit(f"not kept: {'; '.join(broken)}")


def _print_tables(result: Result) -> None:
    table = Table("", "calls", "silence ms", "interruptions", "p50 ms", "p99 ms", "errors", box=None)
    for name, one in zip(("calls alone", "with those who read", "with all"), result.caller_experience, strict=True):
        figures = (f"{one.underrun_ms:.0f}", one.interruptions, f"{one.p50_ms:.0f}", f"{one.p99_ms:.0f}", one.errors)
        table.add_row(name, *map(str, (one.calls, *figures)))
    Console().print(table)
    table = Table("", "before", "largest", "after", box=None)
    table.add_row("MB of the gateway", *(f"{megabytes:.1f}" for megabytes in result.gateway_megabytes))
    table.add_row("MB of the kernel's for connections", *(f"{megabytes:.1f}" for megabytes in result.kernel_megabytes))
    Console().print(table)
    seconds = result.cut_off_seconds
    print(f"cut off after {min(seconds):.1f} to {max(seconds):.1f} s: {len(seconds)}")
    print(f"of those who read: arrived {result.delivered_share:.4f}, gaps {result.gaps}, ended {result.closed_sockets}")


if __name__ == "__main__":
    main()
