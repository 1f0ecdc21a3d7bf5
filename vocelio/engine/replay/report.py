"""A comparison as text for a terminal: the verdict first, then the conversation and where it differs."""

from vocelio.engine.call_log.log import CallLog
from vocelio.engine.replay.compare import Comparison, Difference
from vocelio.engine.replay.transcript import render, transcript


def report(log: CallLog, comparison: Comparison) -> str:
    """Several lines, without a line feed at the end."""
    parts = [_verdict(log, comparison), render(transcript(comparison.exchanges), "  ")]
    parts += [_told(difference, comparison.same_version) for difference in comparison.differences]
    if comparison.differences and comparison.differences[-1].stops:
        left = len(log.exchanges) - comparison.differences[-1].exchange - 1
        parts.append(f"Compared no further: {left} recorded event{'s' * (left != 1)} left out.")
    if not log.complete:
        parts.append("The log's last line is cut off; it was left out.")
    return "\n".join(part for part in parts if part)


def _verdict(log: CallLog, comparison: Comparison) -> str:
    call, own = log.header.facts.call, comparison.same_version
    if comparison.ending == "masked":
        return f"{call}: the same up to a sensitive answer, which the log does not keep (turn {comparison.turns + 1})."
    if comparison.ending == "same" and not comparison.differences:
        what = "the same actions" if own else "the same conversation"
        return f"{call}: {what}, {len(comparison.exchanges)} events, {comparison.turns} turns."
    if comparison.ending == "same":
        return f"{call}: the same way through the flow, other words (as if the caller had answered the same)."
    if own:
        return f"{call}: NOT REPEATED: the same version gave other actions."
    return f"{call}: another conversation from turn {comparison.differences[-1].turn}."


def _told(difference: Difference, own: bool) -> str:
    kind = "differs" if difference.stops else "other words"
    where = f"turn {difference.turn}, {difference.at:.1f} s, at {difference.node or 'the start'}"
    now = "replayed" if own else "this version"
    return f"{kind}: {where}\n    recorded      {difference.recorded}\n    {now:<13} {difference.replayed}"
