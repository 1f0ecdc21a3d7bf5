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
from benchmarks.servers import LISTENING, site
from vocelio.gateway.api.websockets.push_socket import Pace
from vocelio.gateway.calls.registry import Calls
from vocelio.gateway.events.pubsub import Alone
from vocelio.gateway.monitors.key_revocation import PER_KEY

READERS, DEAF, CALLS = 450, 50, 10
SECONDS = 30.0  # of each part: the calls alone; with those who read; and with those who do not
RATE, TEXT = 10, "x" * 5_000  # events a second besides the calls' own, 50 kB: 8 s of them are an outbox full
CUT_OFF, MEGABYTES, LATE_MS, SLOWER_MS = 10.0, 1.0, 0.0, 40.0  # what may be at most; the last by two frames
AT_ONCE = 225  # readers in one process
LOOK = 0.1  # seconds between two looks at the memory
SETTLE = 1.0  # seconds for monitors to have come, or to be gone
PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Sound:
    """What callers noticed: ms of silence within prompts, and from their voice to the prompt's end."""

    calls: int
    late_ms: float
    interruptions: int
    p50: float
    p99: float
    errors: int


@dataclass(frozen=True, slots=True)
class Result:
    """``cut_off`` has the seconds of each who does not read; ``megabytes`` are memory before, at most, and after.

    ``kernel`` are the same of the kernel's for all connections of the machine. ``sound`` is of the calls alone, with
    those who read, and with all.
    """

    cut_off: list[float]
    megabytes: tuple[float, float, float]
    kernel: tuple[float, float, float]
    arrived: float
    gaps: int
    ended: int
    sound: list[Sound]

    def broken(self) -> list[str]:
        """The bounds that were not kept."""
        readers, everybody = self.sound[-2:][0], self.sound[-1]
        cost = (self.megabytes[1] - self.megabytes[0]) / len(self.cut_off)
        bounds = {
            f"cut off within {CUT_OFF:.0f} s": max(self.cut_off) <= CUT_OFF,
            f"at most {MEGABYTES:.0f} MB each": cost <= MEGABYTES,
            "the others get everything": (self.arrived, self.gaps, self.ended) == (1.0, 0, 0),
            "no silence in prompts": all(one.late_ms <= LATE_MS for one in self.sound),
            "callers interrupt as before": everybody.p99 <= readers.p99 + SLOWER_MS,
            "no call goes wrong": not any(one.errors for one in self.sound),
        }
        return [name for name, kept in bounds.items() if not kept]


class Memory:
    """This process's and the kernel's, in MB, looked at all the time."""

    def __init__(self) -> None:
        self.largest = (0.0, 0.0)

    async def watch(self) -> None:
        """For ever."""
        while True:
            self.largest = tuple(map(max, zip(self.largest, self.now(), strict=True)))  # type: ignore[assignment]
            await asyncio.sleep(LOOK)

    def now(self) -> tuple[float, float]:
        """This process's (proc(5), statm), and that of all TCP connections (sockstat)."""
        own = int(Path("/proc/self/statm").read_text().split()[1])
        words = next(line for line in Path("/proc/net/sockstat").read_text().splitlines() if line.startswith("TCP:"))
        return own * PAGE / 1e6, int(words.split()[-1]) * PAGE / 1e6


async def measure(
    readers: int = READERS,
    deaf: int = DEAF,
    calls: int = CALLS,
    seconds: float = SECONDS,
    rate: int = RATE,
    pace: Pace | None = None,
    *,
    whole: bool = True,
) -> Result:
    """All parts, or if not ``whole`` only that with all monitors."""
    async with AsyncExitStack() as stack:
        url = f"sqlite+aiosqlite:///{stack.enter_context(TemporaryDirectory())}/bench.db"
        keys = await fanout.fill(url, -(-readers // PER_KEY) + 1)
        gateway = fanout.serving(url, Alone(), site(LISTENING), pace)
        origin, registry = await stack.enter_async_context(gateway)
        port, sound = str(urlsplit(origin).port), list[Sound]()
        if whole:
            sound.append(await _called(port, calls, seconds))
        shares = [min(AT_ONCE, readers - begin) for begin in range(0, readers, AT_ONCE)]
        watching = [await fanout.readers(origin, keys[1:], share) for share in shares]
        for process in watching:
            await fanout.said(process)
        told = 0
        if whole:
            more, heard = await _told_and_called(registry, rate, port, calls, seconds)
            told += more
            sound.append(heard)
        await asyncio.sleep(SETTLE)
        memory = Memory()
        before, looking = memory.now(), asyncio.create_task(memory.watch())
        ears = await fanout.started(
            "deaf", origin, json.dumps(fanout.headers(keys[0])), str(deaf), str(seconds + CUT_OFF)
        )
        await fanout.said(ears)
        more, heard = await _told_and_called(registry, rate, port, calls, seconds)
        told += more
        sound.append(heard)
        cut_off = json.loads((await ears.communicate())[0])
        await asyncio.sleep(SETTLE)
        looking.cancel()
        after = memory.now()
        seen = [json.loads((await process.communicate(b"\n"))[0]) for process in watching]
    arrived = sum(len(one["latencies"]) for one in seen) / (told * readers)
    gaps, ended = (sum(one[name] for one in seen) for name in ("gaps", "ended"))
    own, kernel = zip(before, memory.largest, after, strict=True)
    return Result(cut_off, own, kernel, arrived, gaps, ended, sound)


async def _told_and_called(registry: Calls, rate: int, port: str, calls: int, seconds: float) -> tuple[int, Sound]:
    telling = fanout.publish(registry, rate, seconds, TEXT)
    told, sound = await asyncio.gather(telling, _called(port, calls, seconds))
    return told, sound


async def _called(port: str, calls: int, seconds: float) -> Sound:
    process = await fanout.started("callers", port, str(calls), str(seconds))
    return Sound(**json.loads((await process.communicate())[0]))


def main() -> None:
    """Print the tables."""
    result = uvloop.run(measure())
    _print(result)
    if broken := result.broken():
        raise SystemExit(f"not kept: {'; '.join(broken)}")


def _print(result: Result) -> None:
    table = Table("", "calls", "silence ms", "interruptions", "p50 ms", "p99 ms", "errors", box=None)
    for name, one in zip(("calls alone", "with those who read", "with all"), result.sound, strict=True):
        figures = (f"{one.late_ms:.0f}", one.interruptions, f"{one.p50:.0f}", f"{one.p99:.0f}", one.errors)
        table.add_row(name, *map(str, (one.calls, *figures)))
    Console().print(table)
    table = Table("", "before", "largest", "after", box=None)
    table.add_row("MB of the gateway", *(f"{megabytes:.1f}" for megabytes in result.megabytes))
    table.add_row("MB of the kernel's for connections", *(f"{megabytes:.1f}" for megabytes in result.kernel))
    Console().print(table)
    print(f"cut off after {min(result.cut_off):.1f} to {max(result.cut_off):.1f} s: {len(result.cut_off)}")
    print(f"of those who read: arrived {result.arrived:.4f}, gaps {result.gaps}, ended {result.ended}")


if __name__ == "__main__":
    main()
