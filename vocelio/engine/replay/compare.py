"""Run a call log on a flow version and compare: actions on the version that ran, the conversation on another.

Another version gives its prompts and timers other ids. A recorded event is therefore translated by its position: the
n-th prompt playing, the recognizer, the n-th timer. This holds only while both calls are in the same situation.
Changes of wording or recognition hints are reported, and the comparison continues as if the caller had answered the
same. It ends at the first change of behavior (another kind of action, another target, a timer that fires earlier or
later), since the caller's reaction to it is unknown.
"""

from collections.abc import Sequence
from typing import Literal

import msgspec

from vocelio.engine import events
from vocelio.engine.actions import AnyAction
from vocelio.engine.call_log import CallLog, Exchange, equal_as_logged, replay, step, without_secrets
from vocelio.engine.flow import FlowVersion
from vocelio.engine.replay.action_diff import ActionDiff, diff_actions
from vocelio.engine.replay.pending import PendingOperations, UnmatchedEvent, expired_timer_diff
from vocelio.engine.replay.transcript import build_transcript, format_transcript
from vocelio.engine.session import FlowSession

Verdict = Literal["same", "differs", "redacted"]


class Difference(msgspec.Struct, frozen=True):
    """One difference between the recorded and the replayed call.

    ``exchange_index`` counts from 0. ``turn`` counts from 1: the caller's answers so far, plus one. ``node`` is the
    replaying version's current node. ``ends_comparison``: nothing after this difference was compared.
    """

    exchange_index: int
    at_seconds: float
    turn: int
    node: str
    recorded: str
    replayed: str
    ends_comparison: bool = True


class Comparison(msgspec.Struct, frozen=True):
    """Result of a comparison. ``exchanges`` are those of the replay, up to where the comparison ended.

    Verdict ``redacted``: equal up to an answer whose content was redacted, which therefore cannot be replayed.
    """

    same_version: bool
    verdict: Verdict
    exchanges: tuple[Exchange, ...]
    differences: tuple[Difference, ...] = ()
    turn_count: int = 0


def compare(log: CallLog, version: FlowVersion) -> Comparison:
    """Run the log's events on ``version``. Raises EventError for impossible events."""
    same_version = log.header.version == version.id
    return _compare_exactly(log, version) if same_version else _compare_conversation(log, version)


def count_turns(exchanges: Sequence[Exchange]) -> int:
    """Count the caller's answers: each utterance, and each run of keys without a prompt in between."""
    count, in_keys = 0, False
    for exchange in exchanges:
        match exchange.event:
            case events.TranscriptReceived(final=True):
                count, in_keys = count + 1, False
            case events.KeyPressed():
                count, in_keys = count + (not in_keys), True
            case events.PromptFinished():
                in_keys = False
            case _:
                pass
    return count


def _compare_exactly(log: CallLog, version: FlowVersion) -> Comparison:
    comparable = _until_redacted(log)
    replayed = replay(version, log.header.call_info, [exchange.event for exchange in comparable])
    for index, (before, after) in enumerate(zip(comparable, replayed, strict=True)):
        if not equal_as_logged(before.actions, without_secrets(after.actions)):
            compared = replayed[: index + 1]
            texts = [msgspec.json.encode(exchange.actions).decode() for exchange in (before, after)]
            position = (index, after.event.at, count_turns(compared) + 1, _last_node_entered(compared))
            difference = Difference(*position, recorded=texts[0], replayed=texts[1])
            return Comparison(True, "differs", tuple(compared), (difference,), count_turns(compared))
    verdict: Verdict = "same" if len(comparable) == len(log.exchanges) else "redacted"
    return Comparison(True, verdict, tuple(replayed), (), count_turns(replayed))


def _compare_conversation(log: CallLog, version: FlowVersion) -> Comparison:
    comparable = _until_redacted(log)
    session = FlowSession(version, log.header.call_info)
    recorded_pending, replayed_pending = PendingOperations(), PendingOperations()
    replayed, differences = list[Exchange](), list[Difference]()
    for index, recorded in enumerate(comparable):
        exchange, diffs = _replay_exchange(session, recorded, recorded_pending, replayed_pending)
        if exchange is not None:
            replayed.append(exchange)
        for diff in diffs:
            position = (index, recorded.event.at, count_turns(comparable[: index + 1]) + 1, session.node)
            differences.append(Difference(*position, diff.recorded, diff.replayed, diff.ends_comparison))
        if differences and differences[-1].ends_comparison:
            return Comparison(False, "differs", tuple(replayed), tuple(differences), count_turns(replayed))
    verdict: Verdict = "same" if len(comparable) == len(log.exchanges) else "redacted"
    return Comparison(False, verdict, tuple(replayed), tuple(differences), count_turns(replayed))


def _replay_exchange(
    session: FlowSession, recorded: Exchange, recorded_pending: PendingOperations, replayed_pending: PendingOperations
) -> tuple[Exchange | None, Sequence[ActionDiff]]:
    if timer_diff := expired_timer_diff(recorded.event, recorded_pending, replayed_pending):
        return None, [timer_diff]
    try:
        event = replayed_pending.translate(recorded.event, recorded_pending)
    except UnmatchedEvent as unmatched:
        return None, [unmatched.diff]
    recorded_pending.apply(recorded)
    exchange = step(session, event)
    replayed_pending.apply(exchange)
    return exchange, diff_actions(recorded.actions, without_secrets(exchange.actions))


def _until_redacted(log: CallLog) -> Sequence[Exchange]:
    redacted = (index for index, exchange in enumerate(log.exchanges) if exchange.redacted)
    return log.exchanges[: next(redacted, len(log.exchanges))]


def _last_node_entered(exchanges: Sequence[Exchange]) -> str:
    entered = [action for exchange in exchanges for action in exchange.actions if _is_node_entered(action)]
    return str(getattr(entered[-1], "data", {}).get("node", "")) if entered else ""


def _is_node_entered(action: AnyAction) -> bool:
    return getattr(action, "type", "") == "node.entered"


# Report


def format_report(log: CallLog, comparison: Comparison) -> str:
    """Format the verdict, the conversation and the differences: several lines, without a line feed at the end."""
    parts = [_format_verdict(log, comparison), format_transcript(build_transcript(comparison.exchanges), "  ")]
    parts += [_format_difference(difference, comparison.same_version) for difference in comparison.differences]
    if comparison.differences and comparison.differences[-1].ends_comparison:
        rest = len(log.exchanges) - comparison.differences[-1].exchange_index - 1
        parts.append(f"The comparison ends here: {rest} recorded event{'s' * (rest != 1)} not compared.")
    if not log.complete:
        parts.append("The log's last line is truncated and was ignored.")
    return "\n".join(part for part in parts if part)


def _format_verdict(log: CallLog, comparison: Comparison) -> str:
    call, same_version = log.header.call_info.call_id, comparison.same_version
    if comparison.verdict == "redacted":
        return f"{call}: the same up to a redacted sensitive answer (turn {comparison.turn_count + 1})."
    if comparison.verdict == "same" and not comparison.differences:
        equal = "the same actions" if same_version else "the same conversation"
        return f"{call}: {equal}, {len(comparison.exchanges)} events, {comparison.turn_count} turns."
    if comparison.verdict == "same":
        return f"{call}: the same path through the flow with other wording (assuming that the caller answers the same)."
    if same_version:
        return f"{call}: NOT REPRODUCED: the same version gave other actions."
    return f"{call}: another conversation from turn {comparison.differences[-1].turn}."


def _format_difference(difference: Difference, same_version: bool) -> str:
    kind = "differs" if difference.ends_comparison else "other wording"
    where = f"turn {difference.turn}, {difference.at_seconds:.1f} s, at {difference.node or 'the start'}"
    label = "replayed" if same_version else "this version"
    return f"{kind}: {where}\n    recorded      {difference.recorded}\n    {label:<13} {difference.replayed}"
