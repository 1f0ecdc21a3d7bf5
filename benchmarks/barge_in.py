"""How soon a caller who speaks over a prompt is given the floor: from the first voiced frame to `clear` on the wire.

The callers say the same, again and again, over the prompts of the listening flow. A frame counts as sent when it was
due, so that lateness of the callers themselves is in the figures, too. The detector wants three voiced frames, 60 ms.
"""

import asyncio
import random
import statistics

import msgspec
import uvloop

from benchmarks.account import ACCOUNT, NUMBER, TOKEN
from benchmarks.calls import SOUND, serving
from vocelio.codecs.mulaw import SAMPLE_RATE
from vocelio.gateway.simulator.load import LoadReport
from vocelio.gateway.simulator.simulator import Carrier

CALLS, SECONDS = 50, 20.0
PERIOD, ONSET = len(SOUND) / SAMPLE_RATE, 3.0  # seconds: when in it somebody begins to speak
LATEST = 1.0  # seconds: how long the voice goes on


class Row(msgspec.Struct, frozen=True):
    """Milliseconds, of so many interruptions."""

    calls: int
    interruptions: int
    p50: float
    p95: float
    largest: float
    errors: int


def measure(calls: int = CALLS, seconds: float = SECONDS) -> Row:
    """So many callers at once."""
    with serving("listening") as (_, port):
        reports = uvloop.run(load(port, calls, seconds))
    found = sorted(late for report in reports for late in latencies(report))
    percentiles = statistics.quantiles(found, n=20, method="inclusive")
    errors = sum(len(report.errors) for report in reports)
    return Row(calls, len(found), percentiles[9], percentiles[18], found[-1], errors)


async def load(port: int, calls: int, seconds: float, seed: int = 3) -> list[LoadReport]:
    """The callers: a report of each. With the same seed their calls have the same names."""
    origin, rng = f"http://127.0.0.1:{port}", random.Random(seed)
    async with Carrier(origin, origin, ACCOUNT, TOKEN, rng=rng) as carrier, asyncio.TaskGroup() as group:
        tasks = []
        for _ in range(calls):
            ticket = await carrier.ring(NUMBER, "+13105550142")
            tasks.append(group.create_task(carrier.stream(ticket, SOUND, seconds)))
            await asyncio.sleep(PERIOD / calls)
    return [task.result() for task in tasks]


def latencies(report: LoadReport) -> list[float]:
    """Milliseconds from each beginning of speech to the clear that followed it."""
    since = [(at - report.began - ONSET) % PERIOD for at in report.cleared]
    return [seconds * 1000 for seconds in since if seconds < LATEST]
