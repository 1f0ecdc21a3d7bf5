"""How soon a caller who speaks over a prompt is given the floor: from the first voiced frame to `clear` on the wire.

The callers say the same, again and again, over the prompts of the listening flow. A frame counts as sent when it was
due, so that lateness of the callers themselves is in the figures, too. The detector wants three voiced frames, 60 ms.
"""

import asyncio
import random
import statistics

import msgspec
import uvloop

from benchmarks.account import ACCOUNT_SID, AUTH_TOKEN, NUMBER
from benchmarks.calls import CALLER_AUDIO, running_server
from vocelio.codecs.mulaw import SAMPLE_RATE
from vocelio.gateway.simulator.load import LoadReport
from vocelio.gateway.simulator.simulator import TwilioSimulator

CALLS, DURATION_SECONDS = 50, 20.0
PERIOD_SECONDS, SPEECH_ONSET_SECONDS = (
    len(CALLER_AUDIO) / SAMPLE_RATE,
    3.0,
)  # seconds: when in it somebody begins to speak
MAX_LATENCY_SECONDS = 1.0  # seconds: how long the voice goes on


class BargeInLatency(msgspec.Struct, frozen=True):
    """Milliseconds, of so many interruptions."""

    calls: int
    interruptions: int
    p50_ms: float
    p95_ms: float
    max_ms: float
    errors: int


def measure(calls: int = CALLS, seconds: float = DURATION_SECONDS) -> BargeInLatency:
    """So many callers at once."""
    with running_server("listening") as (_, port):
        reports = uvloop.run(run_callers(port, calls, seconds))
    found = sorted(late for report in reports for late in latencies_ms(report))
    percentiles = statistics.quantiles(found, n=20, method="inclusive")
    errors = sum(len(report.errors) for report in reports)
    return BargeInLatency(calls, len(found), percentiles[9], percentiles[18], found[-1], errors)


async def run_callers(port: int, calls: int, seconds: float, seed: int = 3) -> list[LoadReport]:
    """The callers: a report of each. With the same seed their calls have the same names."""
    origin, rng = f"http://127.0.0.1:{port}", random.Random(seed)
    async with (
        TwilioSimulator(origin, origin, ACCOUNT_SID, AUTH_TOKEN, rng=rng) as carrier,
        asyncio.TaskGroup() as group,
    ):
        tasks = []
        for _ in range(calls):
            ticket = await carrier.start_call(NUMBER, "+13105550142")
            tasks.append(group.create_task(carrier.stream(ticket, CALLER_AUDIO, seconds)))
            await asyncio.sleep(PERIOD_SECONDS / calls)
    return [task.result() for task in tasks]


def latencies_ms(report: LoadReport) -> list[float]:
    """Milliseconds from each beginning of speech to the clear that followed it."""
    since = [(at - report.started_at - SPEECH_ONSET_SECONDS) % PERIOD_SECONDS for at in report.cleared_at]
    return [seconds * 1000 for seconds in since if seconds < MAX_LATENCY_SECONDS]
