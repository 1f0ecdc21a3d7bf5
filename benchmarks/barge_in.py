"""Barge-in latency: from the first voiced frame of a caller who interrupts a prompt to the `clear` message.

Callers repeat the same utterance over the prompts of the listening flow. A frame counts as sent when it was due, so the
figures include delays of the callers' own process. The voice activity detector needs three voiced frames (60 ms).

``python -m benchmarks.barge_in PORT CALLS SECONDS`` runs only the callers, against a running server, and prints one
line of JSON. Other benchmarks use it as background load. It imports nothing of the gateway, so it starts quickly.
"""

import asyncio
import json
import os
import random
import statistics
import sys
from typing import Any

import msgspec
import uvloop

from benchmarks.account import ACCOUNT_SID, AUTH_TOKEN, NUMBER
from benchmarks.calls import CALLER_AUDIO, running_server
from vocelio.codecs.mulaw import SAMPLE_RATE
from vocelio.gateway.simulator.load import LoadReport
from vocelio.gateway.simulator.simulator import TwilioSimulator

CALLS, DURATION_SECONDS = 50, 20.0
PERIOD_SECONDS = len(CALLER_AUDIO) / SAMPLE_RATE
SPEECH_ONSET_SECONDS = 3.0  # from the start of a period to its first voiced frame
MAX_LATENCY_SECONDS = 1.0  # length of the voiced part; a later `clear` belongs to another interruption


class BargeInLatency(msgspec.Struct, frozen=True):
    """Latency of barge-in in milliseconds."""

    calls: int
    interruptions: int
    p50_ms: float
    p95_ms: float
    max_ms: float
    errors: int


def measure(calls: int = CALLS, seconds: float = DURATION_SECONDS) -> BargeInLatency:
    """Measure barge-in latency of concurrent calls on a new listening server."""
    with running_server("listening") as (_, port):
        reports = uvloop.run(run_callers(port, calls, seconds))
    latencies = sorted(latency for report in reports for latency in latencies_ms(report))
    percentiles = statistics.quantiles(latencies, n=20, method="inclusive")
    errors = sum(len(report.errors) for report in reports)
    return BargeInLatency(calls, len(latencies), percentiles[9], percentiles[18], latencies[-1], errors)


async def run_callers(port: int, calls: int, seconds: float, seed: int = 3) -> list[LoadReport]:
    """Run concurrent callers and return one report for each. The seed determines the call SIDs."""
    origin, rng = f"http://127.0.0.1:{port}", random.Random(seed)
    async with (
        TwilioSimulator(origin, origin, ACCOUNT_SID, AUTH_TOKEN, rng=rng) as simulator,
        asyncio.TaskGroup() as group,
    ):
        tasks = []
        for _ in range(calls):
            target = await simulator.start_call(NUMBER, "+13105550142")
            tasks.append(group.create_task(simulator.stream(target, CALLER_AUDIO, seconds)))
            await asyncio.sleep(PERIOD_SECONDS / calls)
    return [task.result() for task in tasks]


def latencies_ms(report: LoadReport) -> list[float]:
    """Return milliseconds from each onset of speech to the `clear` that followed it."""
    since = [(at - report.started_at - SPEECH_ONSET_SECONDS) % PERIOD_SECONDS for at in report.cleared_at]
    return [seconds * 1000 for seconds in since if seconds < MAX_LATENCY_SECONDS]


async def _summarize_callers(port: int, calls: int, seconds: float) -> dict[str, Any]:
    """Run the callers and return the fields of `benchmarks.slow_monitors.CallerExperience`."""
    reports = await run_callers(port, calls, seconds, os.getpid())
    latencies = [latency for report in reports for latency in latencies_ms(report)]
    percentiles = statistics.quantiles(latencies, n=100, method="inclusive") if len(latencies) > 1 else [0.0] * 99
    return {
        "calls": calls,
        "underrun_ms": max(report.stream_report.underrun_ms for report in reports),
        "interruptions": len(latencies),
        "p50_ms": percentiles[49],
        "p99_ms": percentiles[98],
        "errors": sum(len(report.errors) for report in reports),
    }


if __name__ == "__main__":
    print(json.dumps(uvloop.run(_summarize_callers(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))))
