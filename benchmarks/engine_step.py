"""What a step of the engine costs: ``receive`` and ``actions`` of a say/collect flow, and its checkpoint's size.

Each event of a whole call is timed by itself, over many calls, in this process and on whatever this machine does
besides; nothing is left out but the first calls, which warm caches that every later call of a process shares. The
timer's own cost is a row, not subtracted. "All kinds" has the mix of this one call, in which cheap events are the
most; the dearest kind is a row of its own. Run it: ``python -m benchmarks.engine_step``.
"""

import json
import platform
import sys
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median, quantiles
from time import perf_counter_ns

from vocelio.engine import events
from vocelio.engine.call_info import CallFacts, TenantFacts
from vocelio.engine.flow import FlowVersion
from vocelio.engine.session import Session
from vocelio.engine.validation import loader

CALLS = 3_000
WARM_UP = 200
GOAL_US = 50.0

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
FACTS = CallFacts("call", "+13105550100", "+13105550199", TenantFacts("t", "Harbour Dental"), 1_772_560_800_000_000)


@dataclass(frozen=True, slots=True)
class Row:
    """Microseconds at the median and the ninetieth percentile, or bytes, and how many were measured."""

    name: str
    unit: str
    p50: float
    p90: float
    count: int


def rows(calls: int = CALLS) -> list[Row]:
    """Every figure of the table."""
    version = loader.load(json.dumps(FLOW).encode())
    for _ in range(WARM_UP):
        _call(version, {}, [], [])
    times: dict[str, list[int]] = {}
    checkpoints: list[int] = []
    sizes: list[int] = []
    for _ in range(calls):
        _call(version, times, checkpoints, sizes)
    every = [one for series in times.values() for one in series]
    return [
        _row("a step, all kinds", every),
        *(_row(f"  {name}", series) for name, series in times.items()),
        _row("checkpoint, after each step", checkpoints),
        _row("the timer itself", [_timed(_nothing) for _ in range(calls)]),
        Row("checkpoint, as JSON", "bytes", median(sizes), max(sizes), len(sizes)),
    ]


def _call(version: FlowVersion, times: dict[str, list[int]], checkpoints: list[int], sizes: list[int]) -> None:
    """A caller who interrupts nothing, is unclear once, and then chooses."""
    session = Session(version, FACTS)
    under_way: dict[str, str] = {}

    def step(name: str, event: events.AnyEvent) -> None:
        def receive() -> None:
            session.receive(event)
            done.extend(session.actions())

        done: list[object] = []
        times.setdefault(name, []).append(_timed(receive))
        under_way.update((type(action).__name__, getattr(action, "id", "")) for action in done)
        checkpoints.append(_timed(session.checkpoint))
        sizes.append(len(json.dumps(session.checkpoint(), separators=(",", ":"))))

    step("call started", events.CallStarted(0.0))
    step("prompt finished, next node asks", events.PromptFinished(2.0, under_way["Speak"]))
    step("prompt finished, timer starts", events.PromptFinished(5.0, under_way["Speak"]))
    step("speech started", events.SpeechStarted(6.0))
    step("partial heard, undecided", events.Heard(6.4, under_way["Listen"], "the", final=False))
    step("speech ended", events.SpeechEnded(7.0))
    step("final heard, not understood", events.Heard(7.5, under_way["Listen"], "the what", final=True))
    step("prompt finished, timer starts", events.PromptFinished(10.0, under_way["Speak"]))
    step("speech started", events.SpeechStarted(11.0))
    step("speech ended", events.SpeechEnded(12.0))
    step("final heard, understood", events.Heard(12.5, under_way["Listen"], "it is about my invoice", final=True))
    step("prompt finished, last words", events.PromptFinished(14.0, under_way["Speak"]))
    step("prompt finished, hang up", events.PromptFinished(16.0, under_way["Speak"]))
    if session.outcome != "completed":
        raise RuntimeError(f"the measured call ended {session.outcome or 'nowhere'}")


def _timed(do: Callable[[], object]) -> int:
    begin = perf_counter_ns()
    do()
    return perf_counter_ns() - begin


def _nothing() -> None:
    pass


def _row(name: str, nanoseconds: list[int]) -> Row:
    cuts = quantiles(nanoseconds, n=10)
    return Row(name, "us", median(nanoseconds) / 1_000, cuts[8] / 1_000, len(nanoseconds))


def main() -> int:
    """Print the table; 1 if the goal is missed."""
    table = rows()
    print(f"Python {platform.python_version()}, {platform.machine()}, {CALLS:,} calls (for bytes, p90 is the largest)")
    print(f"{'':<36}{'p50':>9}{'p90':>9}  unit  {'n':>7}")
    for row in table:
        print(f"{row.name:<36}{row.p50:>9.1f}{row.p90:>9.1f}  {row.unit:<5} {row.count:>7,}")
    print(f"goal: a step below {GOAL_US:.0f} us at the median: {'met' if table[0].p50 < GOAL_US else 'MISSED'}")
    return 0 if table[0].p50 < GOAL_US else 1


if __name__ == "__main__":
    sys.exit(main())
