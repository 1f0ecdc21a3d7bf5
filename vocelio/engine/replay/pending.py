"""What a shell has under way for a call: prompts in order, the recogniser, timers in order, what is done elsewhere.

Kept for the recorded call and for its replay, so that an event of the one can be told to the other by its meaning.
"""

from typing import TypeVar

import msgspec

from vocelio.engine import actions, events
from vocelio.engine.call_log.exchange import Exchange
from vocelio.engine.replay.action_diff import ActionDiff

TIMER_TOLERANCE_SECONDS = 0.1  # seconds by which a busy process may fire a timer late; less is no difference
STALE_ID = "stale"  # no action has this id: the engine ignores the event, as it did when it was recorded

_ResultEvent = events.TransferEnded | events.RequestEnded | events.RecordingEnded | events.QueueEnded
_EventWithId = (
    events.PromptFinished
    | events.PromptInterrupted
    | events.TranscriptReceived
    | events.ListeningFailed
    | events.TimerFired
) | _ResultEvent
_EventT = TypeVar("_EventT", bound=_EventWithId)


class UnmatchedEvent(Exception):
    """The event has no meaning in the replay; ``change`` says why."""

    def __init__(self, diff: ActionDiff) -> None:
        super().__init__(diff.replayed)
        self.diff = diff


class PendingOperations:
    """One call's things under way, by the ids its shell knows. ``timers`` are due at their values."""

    def __init__(self) -> None:
        self.prompt_ids: list[str] = []
        self.listen_id = ""
        self.timer_deadlines: dict[str, float] = {}
        self.operation_ids: dict[str, str] = {}

    def apply(self, exchange: Exchange) -> None:
        """An event ended something, perhaps; its actions begin or give up something."""
        self._apply_event(exchange.event)
        for action in exchange.actions:
            self._apply_action(action, exchange.event.at)

    def _apply_event(self, event: events.AnyEvent) -> None:
        match event:
            case events.PromptFinished(id=known) | events.PromptInterrupted(id=known):
                self.prompt_ids = [prompt for prompt in self.prompt_ids if prompt != known]
            case events.TranscriptReceived(id=known, final=True) | events.ListeningFailed(id=known) if (
                known == self.listen_id
            ):
                self.listen_id = ""
            case events.TimerFired(id=known):
                self.timer_deadlines.pop(known, None)
            case events.TransferEnded() | events.RequestEnded() | events.RecordingEnded() | events.QueueEnded():
                self.operation_ids = {kind: known for kind, known in self.operation_ids.items() if known != event.id}
            case events.CallResumed():
                self.prompt_ids, self.listen_id, self.timer_deadlines, self.operation_ids = [], "", {}, {}
            case _:
                pass

    def _apply_action(self, action: actions.AnyAction, at: float) -> None:
        match action:
            case actions.Speak(id=known):
                self.prompt_ids.append(known)
            case actions.Listen(id=known):
                self.listen_id = known
            case actions.StopListening():
                self.listen_id = ""
            case actions.StartTimer(id=known, seconds=seconds):
                self.timer_deadlines[known] = at + seconds
            case actions.CancelTimer(id=known):
                self.timer_deadlines.pop(known, None)
            case actions.Request() | actions.Transfer() | actions.Record() | actions.Queue():
                self.operation_ids[_RESULT_EVENTS[type(action)].__name__] = action.id
            case _:
                pass

    def translate(self, event: events.AnyEvent, recorded: "PendingOperations") -> events.AnyEvent:
        """The recorded event as it would have come in this call. Raises Unmatched."""
        match event:
            case events.PromptFinished() | events.PromptInterrupted():
                return _with_id(
                    event, _match_position(event.id, recorded.prompt_ids, self.prompt_ids, "a prompt was playing")
                )
            case events.TranscriptReceived() | events.ListeningFailed():
                here = [self.listen_id] if self.listen_id else []
                return _with_id(
                    event, _match_position(event.id, [recorded.listen_id], here, "the caller was listened to")
                )
            case events.TimerFired():
                return _with_id(event, self._match_timer(event, recorded))
            case events.TransferEnded() | events.RequestEnded() | events.RecordingEnded() | events.QueueEnded():
                kind = type(event).__name__
                then, here = (
                    [recorded.operation_ids.get(kind, "")],
                    [self.operation_ids[kind]] if kind in self.operation_ids else [],
                )
                return _with_id(event, _match_position(event.id, then, here, f"something was under way ({kind})"))
            case _:
                return event

    def _match_timer(self, event: events.TimerFired, recorded: "PendingOperations") -> str:
        here = _match_position(
            event.id, list(recorded.timer_deadlines), list(self.timer_deadlines), "a timer was running"
        )
        if here != STALE_ID and self.timer_deadlines[here] > event.at + TIMER_TOLERANCE_SECONDS:
            was, due = (
                f"a time ran out at {event.at:.1f} s",
                f"it would have run out at {self.timer_deadlines[here]:.1f} s",
            )
            raise UnmatchedEvent(ActionDiff(was, due, ends_comparison=True))
        return here


_RESULT_EVENTS: dict[type, type] = {
    actions.Transfer: events.TransferEnded,
    actions.Request: events.RequestEnded,
    actions.Record: events.RecordingEnded,
    actions.Queue: events.QueueEnded,
}


def expired_timer_diff(
    event: events.AnyEvent, recorded: PendingOperations, replayed: PendingOperations
) -> ActionDiff | None:
    """Whether a timer of the replay would have run out before the event, and the recorded call's would not."""
    then = list(recorded.timer_deadlines.values())
    for place, due in enumerate(replayed.timer_deadlines.values()):
        late = place < len(then) and then[place] <= due + TIMER_TOLERANCE_SECONDS
        if due + TIMER_TOLERANCE_SECONDS < event.at and not late:
            return ActionDiff(
                "the caller was still waited for", f"the time would have run out at {due:.1f} s", ends_comparison=True
            )
    return None


def _match_position(event_id: str, recorded_ids: list[str], replayed_ids: list[str], description: str) -> str:
    if event_id not in recorded_ids:
        return STALE_ID
    place = recorded_ids.index(event_id)
    if place >= len(replayed_ids):
        raise UnmatchedEvent(ActionDiff(description, "nothing of that kind", ends_comparison=True))
    return replayed_ids[place]


def _with_id(event: _EventT, event_id: str) -> _EventT:
    return msgspec.structs.replace(event, id=event_id)
