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
from vocelio.engine.call_log.exchange import Exchange, replay, same, step, without_secrets
from vocelio.engine.call_log.log import CallLog
from vocelio.engine.flow import FlowVersion
from vocelio.engine.replay.action_diff import Change, changes
from vocelio.engine.replay.pending import Outstanding, Unmatched, too_early
from vocelio.engine.session import Session

Ending = Literal["same", "differs", "masked"]


class Difference(msgspec.Struct, frozen=True):
    """One place where both calls differ.

    ``exchange`` counts from 0; ``turn`` from 1: how many times the caller had answered, and one; ``node`` is where
    this version then is. ``stops`` says that nothing after it could be compared.
    """

    exchange: int
    at: float
    turn: int
    node: str
    recorded: str
    replayed: str
    stops: bool = True


class Comparison(msgspec.Struct, frozen=True):
    """What was compared: ``exchanges`` are this version's own, up to where it stopped.

    ``masked``: the log does not keep what the caller answered here, so nothing further can be repeated.
    """

    same_version: bool
    ending: Ending
    exchanges: tuple[Exchange, ...]
    differences: tuple[Difference, ...] = ()
    turns: int = 0


def compare(log: CallLog, version: FlowVersion) -> Comparison:
    """Run the log's events again on ``version``. Raises EventError for events that cannot be."""
    same_version = log.header.version == version.id
    return _exactly(log, version) if same_version else _alike(log, version)


def turns(exchanges: Sequence[Exchange]) -> int:
    """How many times the caller answered: utterances, and keys pressed without anything said in between."""
    count, keys = 0, False
    for exchange in exchanges:
        match exchange.event:
            case events.Heard(final=True):
                count, keys = count + 1, False
            case events.KeyPressed():
                count, keys = count + (not keys), True
            case events.PromptFinished():
                keys = False
            case _:
                pass
    return count


def _exactly(log: CallLog, version: FlowVersion) -> Comparison:
    known = _unmasked(log)
    replayed = replay(version, log.header.facts, [exchange.event for exchange in known])
    for index, (recorded, now) in enumerate(zip(known, replayed, strict=True)):
        if not same(recorded.actions, without_secrets(now.actions)):
            done = replayed[: index + 1]
            texts = [msgspec.json.encode(one.actions).decode() for one in (recorded, now)]
            place = (index, now.event.at, turns(done) + 1, _node(done))
            found = Difference(*place, recorded=texts[0], replayed=texts[1])
            return Comparison(True, "differs", tuple(done), (found,), turns(done))
    ending: Ending = "same" if len(known) == len(log.exchanges) else "masked"
    return Comparison(True, ending, tuple(replayed), (), turns(replayed))


def _alike(log: CallLog, version: FlowVersion) -> Comparison:
    known = _unmasked(log)
    session = Session(version, log.header.facts)
    before, now = Outstanding(), Outstanding()
    done, found = list[Exchange](), list[Difference]()
    for index, recorded in enumerate(known):
        exchange, changed = _next(session, recorded, before, now)
        if exchange is not None:
            done.append(exchange)
        for change in changed:
            place = (index, recorded.event.at, turns(known[: index + 1]) + 1, session.node)
            found.append(Difference(*place, change.recorded, change.replayed, change.stops))
        if found and found[-1].stops:
            return Comparison(False, "differs", tuple(done), tuple(found), turns(done))
    ending: Ending = "same" if len(known) == len(log.exchanges) else "masked"
    return Comparison(False, ending, tuple(done), tuple(found), turns(done))


def _next(
    session: Session, recorded: Exchange, before: Outstanding, now: Outstanding
) -> tuple[Exchange | None, Sequence[Change]]:
    if early := too_early(recorded.event, before, now):
        return None, [early]
    try:
        event = now.translate(recorded.event, before)
    except Unmatched as unmatched:
        return None, [unmatched.change]
    before.take(recorded)
    exchange = step(session, event)
    now.take(exchange)
    return exchange, changes(recorded.actions, without_secrets(exchange.actions))


def _unmasked(log: CallLog) -> Sequence[Exchange]:
    masked = (index for index, exchange in enumerate(log.exchanges) if exchange.masked)
    return log.exchanges[: next(masked, len(log.exchanges))]


def _node(exchanges: Sequence[Exchange]) -> str:
    entered = [action for exchange in exchanges for action in exchange.actions if _entering(action)]
    return str(getattr(entered[-1], "data", {}).get("node", "")) if entered else ""


def _entering(action: AnyAction) -> bool:
    return getattr(action, "type", "") == "node.entered"
