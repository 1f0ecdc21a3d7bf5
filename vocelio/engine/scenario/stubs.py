"""What a flow asks of the world outside, and the events by which it ends."""

from vocelio.engine import actions, events
from vocelio.engine.scenario.steps import ExternalStep, HttpReply, QueueStep, RecordingStep, ReplyStep, TransferStep

ExternalAction = actions.Transfer | actions.Queue | actions.Request | actions.Record

STEP_KEY_BY_ACTION: dict[type, str] = {
    actions.Transfer: "transfer",
    actions.Queue: "queue",
    actions.Request: "reply",
    actions.Record: "recording",
}
"""The key of the step that ends it."""


def can_end(step: ExternalStep, pending: ExternalAction) -> bool:
    """Whether what is under way can end so."""
    return step.__struct_fields__[0] == STEP_KEY_BY_ACTION[type(pending)]


def duration_seconds(step: ExternalStep) -> float:
    """Seconds until it ends."""
    return step.recording.seconds if isinstance(step, RecordingStep) else step.seconds


def to_event(step: ExternalStep, at: float, action_id: str) -> events.AnyEvent:
    """The event that tells it to the flow; whether a status is an error is for the node to say."""
    match step:
        case TransferStep():
            return events.TransferEnded(at, action_id, step.transfer, step.seconds)
        case QueueStep():
            return events.QueueEnded(at, action_id, step.queue)
        case RecordingStep(recording=made):
            return events.RecordingEnded(at, action_id, made.seconds, made.url)
        case ReplyStep(reply=HttpReply(status=status, body=body)):
            return events.RequestEnded(at, action_id, "ok", status, body)
        case ReplyStep(reply="timeout"):
            return events.RequestEnded(at, action_id, "timeout")
        case ReplyStep():
            return events.RequestEnded(at, action_id, "error")
