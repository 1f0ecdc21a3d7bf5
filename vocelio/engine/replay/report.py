"""A comparison as text for a terminal: the verdict first, then the conversation and where it differs."""

from vocelio.engine.call_log.log import CallLog
from vocelio.engine.replay.compare import Comparison, Difference
from vocelio.engine.replay.transcript import build_transcript, format_transcript


def format_report(log: CallLog, comparison: Comparison) -> str:
    """Several lines, without a line feed at the end."""
    parts = [_format_verdict(log, comparison), format_transcript(build_transcript(comparison.exchanges), "  ")]
    parts += [_format_difference(difference, comparison.same_version) for difference in comparison.differences]
    if comparison.differences and comparison.differences[-1].ends_comparison:
        left = len(log.exchanges) - comparison.differences[-1].exchange_index - 1
        parts.append(f"Compared no further: {left} recorded event{'s' * (left != 1)} left out.")
    if not log.complete:
        parts.append("The log's last line is cut off; it was left out.")
    return "\n".join(part for part in parts if part)


def _format_verdict(log: CallLog, comparison: Comparison) -> str:
    call, own = log.header.facts.call_id, comparison.same_version
    if comparison.verdict == "masked":
        turn = comparison.turn_count + 1
        return f"{call}: the same up to a sensitive answer, which the log does not keep (turn {turn})."
    if comparison.verdict == "same" and not comparison.differences:
        what = "the same actions" if own else "the same conversation"
        return f"{call}: {what}, {len(comparison.exchanges)} events, {comparison.turn_count} turns."
    if comparison.verdict == "same":
        return f"{call}: the same way through the flow, other words (as if the caller had answered the same)."
    if own:
        return f"{call}: NOT REPEATED: the same version gave other actions."
    return f"{call}: another conversation from turn {comparison.differences[-1].turn}."


def _format_difference(difference: Difference, same_version: bool) -> str:
    kind = "differs" if difference.ends_comparison else "other words"
    where = f"turn {difference.turn}, {difference.at_seconds:.1f} s, at {difference.node or 'the start'}"
    now = "replayed" if same_version else "this version"
    return f"{kind}: {where}\n    recorded      {difference.recorded}\n    {now:<13} {difference.replayed}"
