"""What a flow asks of the world outside, and the events by which it ends."""

from vocelio.engine import actions, events
from vocelio.engine.scenario.steps import Answer, OutsideStep, Queue, Recording, Reply, Transfer

Outside = actions.Transfer | actions.Queue | actions.Request | actions.Record

ENDED_BY: dict[type, str] = {
    actions.Transfer: "transfer",
    actions.Queue: "queue",
    actions.Request: "reply",
    actions.Record: "recording",
}
"""The key of the step that ends it."""


def fits(how: OutsideStep, pending: Outside) -> bool:
    """Whether what is under way can end so."""
    return how.__struct_fields__[0] == ENDED_BY[type(pending)]


def lasts(how: OutsideStep) -> float:
    """Seconds until it ends."""
    return how.recording.seconds if isinstance(how, Recording) else how.seconds


def ended(how: OutsideStep, at: float, known: str) -> events.AnyEvent:
    """The event that tells it to the flow; whether a status is an error is for the node to say."""
    match how:
        case Transfer():
            return events.TransferEnded(at, known, how.transfer, how.seconds)
        case Queue():
            return events.QueueEnded(at, known, how.queue)
        case Recording(recording=made):
            return events.RecordingEnded(at, known, made.seconds, made.url)
        case Reply(reply=Answer(status=status, body=body)):
            return events.ReplyArrived(at, known, "ok", status, body)
        case Reply(reply="timeout"):
            return events.ReplyArrived(at, known, "timeout")
        case Reply():
            return events.ReplyArrived(at, known, "error")
