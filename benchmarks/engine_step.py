"""Cost of one engine step (``receive`` and ``actions``) of a say/collect flow, and the size of its checkpoint.

Every event of a complete call is timed separately, over many calls. Only the first calls are discarded: they warm
caches that all later calls of a process share. The cost of the timer has its own row and is not subtracted. "All
kinds" is the mix of this one call, in which cheap events are the majority. Run it: ``python -m benchmarks.engine_step``
"""

import json
import platform
import sys
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median, quantiles
from time import perf_counter_ns

from vocelio.engine import events
from vocelio.engine.call_info import CallInfo, TenantInfo
from vocelio.engine.flow import FlowVersion
from vocelio.engine.session import FlowSession
from vocelio.engine.validation import loader

CALLS = 3_000
WARM_UP_CALLS = 200
TARGET_STEP_US = 50.0

FLOW = {
    "name": "Front desk",
    "start": "greet",
    "variables": {"department": ""},
    "nodes": {
        "greet": {"type": "say", "text": "Thank you for calling {{ tenant.name }}.", "exits": {"next": "ask"}},
        "ask": {
            "type": "collect",
            "expect": "choice",
            "prompt": "Say sales, billing or support, or press 1, 2 or 3.",
            "save_as": "department",
            "choices": {
                "sales": {"phrases": ["sales", "buy something"], "key": "1"},
                "billing": {"phrases": ["billing", "my invoice"], "key": "2"},
                "support": {"phrases": ["support", "it is broken"], "key": "3"},
            },
            "exits": dict.fromkeys(("sales", "billing", "support", "no_input", "no_match"), "answer"),
        },
        "answer": {"type": "say", "text": "You said {{ department }}.", "exits": {"next": "bye"}},
        "bye": {"type": "hangup", "text": "Goodbye, {{ caller.number | digits }}."},
    },
}
CALL_INFO = CallInfo("call", "+13105550100", "+13105550199", TenantInfo("t", "Harbour Dental"), 1_772_560_800_000_000)


@dataclass(frozen=True, slots=True)
class StepCost:
    """One row of the table. ``p90`` is the maximum where the unit is bytes."""

    name: str
    unit: str
    p50: float
    p90: float
    count: int


def measure(calls: int = CALLS) -> list[StepCost]:
    """Return all rows of the table."""
    version = loader.load_flow(json.dumps(FLOW).encode())
    for _ in range(WARM_UP_CALLS):
        _run_call(version, {}, [], [])
    times: dict[str, list[int]] = {}
    checkpoints: list[int] = []
    sizes: list[int] = []
    for _ in range(calls):
        _run_call(version, times, checkpoints, sizes)
    all_steps = [duration for series in times.values() for duration in series]
    return [
        _summarize("a step, all kinds", all_steps),
        *(_summarize(f"  {name}", series) for name, series in times.items()),
        _summarize("checkpoint, after each step", checkpoints),
        _summarize("timer overhead", [_elapsed_ns(_noop) for _ in range(calls)]),
        StepCost("checkpoint, as JSON", "bytes", median(sizes), max(sizes), len(sizes)),
    ]


def _run_call(version: FlowVersion, times: dict[str, list[int]], checkpoints: list[int], sizes: list[int]) -> None:
    """Run a call: the caller does not interrupt, is not understood once, and then chooses."""
    session = FlowSession(version, CALL_INFO)
    ids: dict[str, str] = {}

    def step(name: str, event: events.AnyEvent) -> None:
        def receive() -> None:
            session.receive(event)
            actions.extend(session.actions())

        actions: list[object] = []
        times.setdefault(name, []).append(_elapsed_ns(receive))
        ids.update((type(action).__name__, getattr(action, "id", "")) for action in actions)
        checkpoints.append(_elapsed_ns(session.checkpoint))
        sizes.append(len(json.dumps(session.checkpoint(), separators=(",", ":"))))

    step("call started", events.CallStarted(0.0))
    step("prompt finished, next node asks", events.PromptFinished(2.0, ids["Speak"]))
    step("prompt finished, timer starts", events.PromptFinished(5.0, ids["Speak"]))
    step("speech started", events.SpeechStarted(6.0))
    step("partial transcript, undecided", events.TranscriptReceived(6.4, ids["Listen"], "the", final=False))
    step("speech ended", events.SpeechEnded(7.0))
    step("final transcript, no match", events.TranscriptReceived(7.5, ids["Listen"], "the what", final=True))
    step("prompt finished, timer starts", events.PromptFinished(10.0, ids["Speak"]))
    step("speech started", events.SpeechStarted(11.0))
    step("speech ended", events.SpeechEnded(12.0))
    step(
        "final transcript, match",
        events.TranscriptReceived(12.5, ids["Listen"], "it is about my invoice", final=True),
    )
    step("prompt finished, last prompt", events.PromptFinished(14.0, ids["Speak"]))
    step("prompt finished, hang up", events.PromptFinished(16.0, ids["Speak"]))
    if session.outcome != "completed":
        raise RuntimeError(f"the measured call ended with outcome {session.outcome!r}")


def _elapsed_ns(function: Callable[[], object]) -> int:
    begin = perf_counter_ns()
    function()
    return perf_counter_ns() - begin


def _noop() -> None:
    pass


def _summarize(name: str, nanoseconds: list[int]) -> StepCost:
    cuts = quantiles(nanoseconds, n=10)
    return StepCost(name, "us", median(nanoseconds) / 1_000, cuts[8] / 1_000, len(nanoseconds))


def main() -> int:
    """Print the table; return 1 if the target is missed."""
    table = measure()
    print(f"Python {platform.python_version()}, {platform.machine()}, {CALLS:,} calls (p90 of bytes is the maximum)")
    print(f"{'':<36}{'p50':>9}{'p90':>9}  unit  {'n':>7}")
    for row in table:
        print(f"{row.name:<36}{row.p50:>9.1f}{row.p90:>9.1f}  {row.unit:<5} {row.count:>7,}")
    verdict = "met" if table[0].p50 < TARGET_STEP_US else "MISSED"
    print(f"target: a step below {TARGET_STEP_US:.0f} us at the median: {verdict}")
    return 0 if table[0].p50 < TARGET_STEP_US else 1


if __name__ == "__main__":
    sys.exit(main())
