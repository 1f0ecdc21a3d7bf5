"""Was the call what this version does? Exactly, on its own version; in its conversation, on another.

Another version names its prompts and timers differently, so a recorded event is translated to what it means: the
n-th prompt then under way, the recogniser, the n-th timer. That is sound only as long as both calls are in the
same situation. A changed wording or other phrases to listen for are told, and the comparison goes on as if the
caller had answered the same. At the first change of what happens (another kind of action, another target, a timer
that would have run out earlier or later) it stops: what the caller would have done then, nobody knows.
"""

from collections.abc import Sequence
from typing import Literal

import msgspec

from vocelio.engine import events
from vocelio.engine.actions import AnyAction
from vocelio.engine.call_log.exchange import Exchange, equal_as_logged, replay, step, without_secrets
from vocelio.engine.call_log.log import CallLog
from vocelio.engine.flow import FlowVersion
from vocelio.engine.replay.action_diff import ActionDiff, diff_actions
from vocelio.engine.replay.pending import PendingOperations, UnmatchedEvent, expired_timer_diff
from vocelio.engine.session import FlowSession

Verdict = Literal["same", "differs", "masked"]


class Difference(msgspec.Struct, frozen=True):
    """One place where both calls differ.

    ``exchange`` counts from 0; ``turn`` from 1: how many times the caller had answered, and one; ``node`` is where
    this version then is. ``stops`` says that nothing after it could be compared.
    """

    exchange_index: int
    at_seconds: float
    turn: int
    node: str
    recorded: str
    replayed: str
    ends_comparison: bool = True


class Comparison(msgspec.Struct, frozen=True):
    """What was compared: ``exchanges`` are this version's own, up to where it stopped.

    ``masked``: the log does not keep what the caller answered here, so nothing further can be repeated.
    """

    same_version: bool
    verdict: Verdict
    exchanges: tuple[Exchange, ...]
    differences: tuple[Difference, ...] = ()
    turn_count: int = 0


def compare(log: CallLog, version: FlowVersion) -> Comparison:
    """Run the log's events again on ``version``. Raises EventError for events that cannot be."""
    same_version = log.header.version == version.id
    return _compare_exactly(log, version) if same_version else _compare_conversation(log, version)


def count_turns(exchanges: Sequence[Exchange]) -> int:
    """How many times the caller answered: utterances, and keys pressed without anything said in between."""
    count, keys = 0, False
    for exchange in exchanges:
        match exchange.event:
            case events.TranscriptReceived(final=True):
                count, keys = count + 1, False
            case events.KeyPressed():
                count, keys = count + (not keys), True
            case events.PromptFinished():
                keys = False
            case _:
                pass
    return count


def _compare_exactly(log: CallLog, version: FlowVersion) -> Comparison:
    known = _until_redacted(log)
    replayed = replay(version, log.header.facts, [exchange.event for exchange in known])
    for index, (recorded, now) in enumerate(zip(known, replayed, strict=True)):
        if not equal_as_logged(recorded.actions, without_secrets(now.actions)):
            done = replayed[: index + 1]
            texts = [msgspec.json.encode(one.actions).decode() for one in (recorded, now)]
            place = (index, now.event.at, count_turns(done) + 1, _last_node_entered(done))
            found = Difference(*place, recorded=texts[0], replayed=texts[1])
            return Comparison(True, "differs", tuple(done), (found,), count_turns(done))
    ending: Verdict = "same" if len(known) == len(log.exchanges) else "masked"
    return Comparison(True, ending, tuple(replayed), (), count_turns(replayed))


def _compare_conversation(log: CallLog, version: FlowVersion) -> Comparison:
    known = _until_redacted(log)
    session = FlowSession(version, log.header.facts)
    before, now = PendingOperations(), PendingOperations()
    done, found = list[Exchange](), list[Difference]()
    for index, recorded in enumerate(known):
        exchange, changed = _replay_exchange(session, recorded, before, now)
        if exchange is not None:
            done.append(exchange)
        for change in changed:
            place = (index, recorded.event.at, count_turns(known[: index + 1]) + 1, session.node)
            found.append(Difference(*place, change.recorded, change.replayed, change.ends_comparison))
        if found and found[-1].ends_comparison:
            return Comparison(False, "differs", tuple(done), tuple(found), count_turns(done))
    ending: Verdict = "same" if len(known) == len(log.exchanges) else "masked"
    return Comparison(False, ending, tuple(done), tuple(found), count_turns(done))


def _replay_exchange(
    session: FlowSession, recorded: Exchange, recorded_pending: PendingOperations, replayed_pending: PendingOperations
) -> tuple[Exchange | None, Sequence[ActionDiff]]:
    if early := expired_timer_diff(recorded.event, recorded_pending, replayed_pending):
        return None, [early]
    try:
        event = replayed_pending.translate(recorded.event, recorded_pending)
    except UnmatchedEvent as unmatched:
        return None, [unmatched.diff]
    recorded_pending.apply(recorded)
    exchange = step(session, event)
    replayed_pending.apply(exchange)
    return exchange, diff_actions(recorded.actions, without_secrets(exchange.actions))


def _until_redacted(log: CallLog) -> Sequence[Exchange]:
    masked = (index for index, exchange in enumerate(log.exchanges) if exchange.masked)
    return log.exchanges[: next(masked, len(log.exchanges))]


def _last_node_entered(exchanges: Sequence[Exchange]) -> str:
    entered = [action for exchange in exchanges for action in exchange.actions if _is_node_entered(action)]
    return str(getattr(entered[-1], "data", {}).get("node", "")) if entered else ""


def _is_node_entered(action: AnyAction) -> bool:
    return getattr(action, "type", "") == "node.entered"
