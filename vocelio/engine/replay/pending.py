"""Pending operations of one call: prompts and timers in order, the recognizer, transfers, requests, recordings, queues.

They are tracked for the recorded call and for its replay, so that an event of the one can be translated to the other.
"""

from typing import TypeVar

import msgspec

from vocelio.engine import actions, events
from vocelio.engine.call_log import Exchange
from vocelio.engine.replay.action_diff import ActionDiff

TIMER_TOLERANCE_SECONDS = 0.1  # a busy process fires timers late by up to this much; less is no difference
STALE_ID = "stale"  # no action has this id: the engine ignores the event, as it did in the recorded call

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
    """The recorded event cannot occur in the replay; ``diff`` says why."""

    def __init__(self, diff: ActionDiff) -> None:
        super().__init__(diff.replayed)
        self.diff = diff


class PendingOperations:
    """Pending operations of one call, by the ids of its actions. ``timer_deadlines`` are seconds since its start."""

    def __init__(self) -> None:
        self.prompt_ids: list[str] = []
        self.listen_id = ""
        self.timer_deadlines: dict[str, float] = {}
        self.operation_ids: dict[str, str] = {}

    def apply(self, exchange: Exchange) -> None:
        """Update with an event, which may end an operation, and its actions, which may start or cancel some."""
        self._apply_event(exchange.event)
        for action in exchange.actions:
            self._apply_action(action, exchange.event.at)

    def _apply_event(self, event: events.AnyEvent) -> None:
        match event:
            case events.PromptFinished(id=event_id) | events.PromptInterrupted(id=event_id):
                self.prompt_ids = [prompt for prompt in self.prompt_ids if prompt != event_id]
            case events.TranscriptReceived(id=event_id, final=True) | events.ListeningFailed(id=event_id) if (
                event_id == self.listen_id
            ):
                self.listen_id = ""
            case events.TimerFired(id=event_id):
                self.timer_deadlines.pop(event_id, None)
            case events.TransferEnded() | events.RequestEnded() | events.RecordingEnded() | events.QueueEnded():
                self.operation_ids = {kind: id_ for kind, id_ in self.operation_ids.items() if id_ != event.id}
            case events.CallResumed():
                self.prompt_ids, self.listen_id, self.timer_deadlines, self.operation_ids = [], "", {}, {}
            case _:
                pass

    def _apply_action(self, action: actions.AnyAction, at: float) -> None:
        match action:
            case actions.Speak(id=action_id):
                self.prompt_ids.append(action_id)
            case actions.Listen(id=action_id):
                self.listen_id = action_id
            case actions.StopListening():
                self.listen_id = ""
            case actions.StartTimer(id=action_id, seconds=seconds):
                self.timer_deadlines[action_id] = at + seconds
            case actions.CancelTimer(id=action_id):
                self.timer_deadlines.pop(action_id, None)
            case actions.Request() | actions.Transfer() | actions.Record() | actions.Queue():
                self.operation_ids[_RESULT_EVENTS[type(action)].__name__] = action.id
            case _:
                pass

    def translate(self, event: events.AnyEvent, recorded: "PendingOperations") -> events.AnyEvent:
        """Translate a recorded event to the ids of this call. Raises UnmatchedEvent."""
        match event:
            case events.PromptFinished() | events.PromptInterrupted():
                return _with_id(
                    event, _match_position(event.id, recorded.prompt_ids, self.prompt_ids, "a prompt was playing")
                )
            case events.TranscriptReceived() | events.ListeningFailed():
                own_ids = [self.listen_id] if self.listen_id else []
                return _with_id(
                    event, _match_position(event.id, [recorded.listen_id], own_ids, "recognition was active")
                )
            case events.TimerFired():
                return _with_id(event, self._match_timer(event, recorded))
            case events.TransferEnded() | events.RequestEnded() | events.RecordingEnded() | events.QueueEnded():
                kind = type(event).__name__
                recorded_ids = [recorded.operation_ids.get(kind, "")]
                own_ids = [self.operation_ids[kind]] if kind in self.operation_ids else []
                return _with_id(
                    event, _match_position(event.id, recorded_ids, own_ids, f"an operation was pending ({kind})")
                )
            case _:
                return event

    def _match_timer(self, event: events.TimerFired, recorded: "PendingOperations") -> str:
        timer_id = _match_position(
            event.id, list(recorded.timer_deadlines), list(self.timer_deadlines), "a timer was running"
        )
        if timer_id != STALE_ID and self.timer_deadlines[timer_id] > event.at + TIMER_TOLERANCE_SECONDS:
            before = f"a timer fired at {event.at:.1f} s"
            after = f"it would have fired at {self.timer_deadlines[timer_id]:.1f} s"
            raise UnmatchedEvent(ActionDiff(before, after, ends_comparison=True))
        return timer_id


_RESULT_EVENTS: dict[type, type] = {
    actions.Transfer: events.TransferEnded,
    actions.Request: events.RequestEnded,
    actions.Record: events.RecordingEnded,
    actions.Queue: events.QueueEnded,
}


def expired_timer_diff(
    event: events.AnyEvent, recorded: PendingOperations, replayed: PendingOperations
) -> ActionDiff | None:
    """Return a difference if a timer of the replay would have fired before the event, and the recorded one did not."""
    recorded_deadlines = list(recorded.timer_deadlines.values())
    for index, deadline in enumerate(replayed.timer_deadlines.values()):
        was_late = index < len(recorded_deadlines) and recorded_deadlines[index] <= deadline + TIMER_TOLERANCE_SECONDS
        if deadline + TIMER_TOLERANCE_SECONDS < event.at and not was_late:
            return ActionDiff(
                "no timer had fired", f"a timer would have fired at {deadline:.1f} s", ends_comparison=True
            )
    return None


def _match_position(event_id: str, recorded_ids: list[str], replayed_ids: list[str], description: str) -> str:
    if event_id not in recorded_ids:
        return STALE_ID
    index = recorded_ids.index(event_id)
    if index >= len(replayed_ids):
        raise UnmatchedEvent(ActionDiff(description, "nothing of the kind", ends_comparison=True))
    return replayed_ids[index]


def _with_id(event: _EventT, event_id: str) -> _EventT:
    return msgspec.structs.replace(event, id=event_id)
