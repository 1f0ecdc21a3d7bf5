"""Callers of the listening flow who speak over its prompts again and again, and what they notice.

This needs nothing of the gateway, so that it is quick to start: python -m benchmarks.callers PORT CALLS SECONDS
"""

import json
import os
import sys
from statistics import quantiles
from typing import Any

import uvloop

from benchmarks import barge_in


async def run(port: int, calls: int, seconds: float) -> dict[str, Any]:
    """Be so many."""
    reports = await barge_in.run_callers(port, calls, seconds, os.getpid())
    found = [late for report in reports for late in barge_in.latencies_ms(report)]
    percent = quantiles(found, n=100, method="inclusive") if len(found) > 1 else [0.0] * 99
    return {
        "calls": calls,
        "late_ms": max(report.stream_report.underrun_ms for report in reports),
        "interruptions": len(found),
        "p50": percent[49],
        "p99": percent[98],
        "errors": sum(len(report.errors) for report in reports),
    }


if __name__ == "__main__":
    print(json.dumps(uvloop.run(run(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))))
