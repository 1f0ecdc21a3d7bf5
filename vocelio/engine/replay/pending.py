"""What a shell has under way for a call: prompts in order, the recogniser, timers in order, what is done elsewhere.

Kept for the recorded call and for its replay, so that an event of the one can be told to the other by its meaning.
"""

from typing import TypeVar

import msgspec

from vocelio.engine import actions, events
from vocelio.engine.call_log.exchange import Exchange
from vocelio.engine.replay.action_diff import Change

LATE = 0.1  # seconds by which a busy process may fire a timer late; less is no difference
STALE = "stale"  # no action has this id: the engine ignores the event, as it did when it was recorded

_Elsewhere = events.TransferEnded | events.ReplyArrived | events.RecordingEnded | events.QueueEnded
_Named = (
    events.PromptFinished | events.PromptInterrupted | events.Heard | events.ListeningFailed | events.TimerFired
) | _Elsewhere
_E = TypeVar("_E", bound=_Named)


class Unmatched(Exception):
    """The event has no meaning in the replay; ``change`` says why."""

    def __init__(self, change: Change) -> None:
        super().__init__(change.replayed)
        self.change = change


class Outstanding:
    """One call's things under way, by the ids its shell knows. ``timers`` are due at their values."""

    def __init__(self) -> None:
        self.prompts: list[str] = []
        self.listening = ""
        self.timers: dict[str, float] = {}
        self.pending: dict[str, str] = {}

    def take(self, exchange: Exchange) -> None:
        """An event ended something, perhaps; its actions begin or give up something."""
        self._happened(exchange.event)
        for action in exchange.actions:
            self._asked(action, exchange.event.at)

    def _happened(self, event: events.AnyEvent) -> None:
        match event:
            case events.PromptFinished(id=known) | events.PromptInterrupted(id=known):
                self.prompts = [prompt for prompt in self.prompts if prompt != known]
            case events.Heard(id=known, final=True) | events.ListeningFailed(id=known) if known == self.listening:
                self.listening = ""
            case events.TimerFired(id=known):
                self.timers.pop(known, None)
            case events.TransferEnded() | events.ReplyArrived() | events.RecordingEnded() | events.QueueEnded():
                self.pending = {kind: known for kind, known in self.pending.items() if known != event.id}
            case events.CallResumed():
                self.prompts, self.listening, self.timers, self.pending = [], "", {}, {}
            case _:
                pass

    def _asked(self, action: actions.AnyAction, at: float) -> None:
        match action:
            case actions.Speak(id=known):
                self.prompts.append(known)
            case actions.Listen(id=known):
                self.listening = known
            case actions.StopListening():
                self.listening = ""
            case actions.StartTimer(id=known, seconds=seconds):
                self.timers[known] = at + seconds
            case actions.CancelTimer(id=known):
                self.timers.pop(known, None)
            case actions.Request() | actions.Transfer() | actions.Record() | actions.Queue():
                self.pending[_ENDS[type(action)].__name__] = action.id
            case _:
                pass

    def translate(self, event: events.AnyEvent, recorded: "Outstanding") -> events.AnyEvent:
        """The recorded event as it would have come in this call. Raises Unmatched."""
        match event:
            case events.PromptFinished() | events.PromptInterrupted():
                return _as(event, _same_place(event.id, recorded.prompts, self.prompts, "a prompt was playing"))
            case events.Heard() | events.ListeningFailed():
                here = [self.listening] if self.listening else []
                return _as(event, _same_place(event.id, [recorded.listening], here, "the caller was listened to"))
            case events.TimerFired():
                return _as(event, self._timer(event, recorded))
            case events.TransferEnded() | events.ReplyArrived() | events.RecordingEnded() | events.QueueEnded():
                kind = type(event).__name__
                then, here = [recorded.pending.get(kind, "")], [self.pending[kind]] if kind in self.pending else []
                return _as(event, _same_place(event.id, then, here, f"something was under way ({kind})"))
            case _:
                return event

    def _timer(self, event: events.TimerFired, recorded: "Outstanding") -> str:
        here = _same_place(event.id, list(recorded.timers), list(self.timers), "a timer was running")
        if here != STALE and self.timers[here] > event.at + LATE:
            was, due = f"a time ran out at {event.at:.1f} s", f"it would have run out at {self.timers[here]:.1f} s"
            raise Unmatched(Change(was, due, stops=True))
        return here


_ENDS: dict[type, type] = {
    actions.Transfer: events.TransferEnded,
    actions.Request: events.ReplyArrived,
    actions.Record: events.RecordingEnded,
    actions.Queue: events.QueueEnded,
}


def too_early(event: events.AnyEvent, recorded: Outstanding, replayed: Outstanding) -> Change | None:
    """Whether a timer of the replay would have run out before the event, and the recorded call's would not."""
    then = list(recorded.timers.values())
    for place, due in enumerate(replayed.timers.values()):
        late = place < len(then) and then[place] <= due + LATE
        if due + LATE < event.at and not late:
            return Change("the caller was still waited for", f"the time would have run out at {due:.1f} s", stops=True)
    return None


def _same_place(known: str, then: list[str], now: list[str], what: str) -> str:
    if known not in then:
        return STALE
    place = then.index(known)
    if place >= len(now):
        raise Unmatched(Change(what, "nothing of that kind", stops=True))
    return now[place]


def _as(event: _E, known: str) -> _E:
    return msgspec.structs.replace(event, id=known)
