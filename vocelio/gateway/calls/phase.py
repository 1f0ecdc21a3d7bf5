"""The phase of a call: what happens to it next. A state machine without I/O, across all of the call's streams.

The life of a call is the table below; an event that has no row for the present phase is a defect of ours. Side effects
of the flow wait for a commit in any phase (see session/commit_gate.py); a phase says what Twilio is to do with the call
once its stream is closed. The durable phases are part of the call's resume state: what is decided there is certain in
the store before the stream is closed, so that a webhook, in any process, only needs to read it.
"""

from typing import Final, Literal

import msgspec

from vocelio.engine import actions, events

HandoffMode = Literal["between_prompts", "immediate"]
"""Where a stream is closed on purpose: before the next prompt, which then is not repeated; or anywhere."""


class _Phase(msgspec.Struct, frozen=True, tag_field="phase"):
    pass


class Talking(_Phase, frozen=True, tag="talking"):
    """The flow runs. If the stream is lost, another one resumes it."""


class Authorizing(_Phase, frozen=True, tag="authorizing"):
    """The flow waits for a transfer that may not be allowed. The store does not know of it yet."""

    transfer: actions.Transfer


class Transferring(_Phase, frozen=True, tag="transferring"):
    """The transfer is authorized: once that is committed, the stream is closed and Twilio dials."""

    transfer: actions.Transfer


class TransferCompleted(_Phase, frozen=True, tag="transfer_completed"):
    """Dialing has ended: the next stream continues the flow with its result."""

    result: events.TransferEnded


class HangingUp(_Phase, frozen=True, tag="hanging_up"):
    """The flow has ended: once that is committed, Twilio hangs up."""

    hang_up: actions.HangUp


class HandingOff(_Phase, frozen=True, tag="handing_off"):
    """The stream is given up on purpose: once that is committed, it is closed and another process resumes the flow."""

    mode: HandoffMode


class StoreDown(_Phase, frozen=True, tag="store_down"):
    """The store did not commit in time: the flow goes on without it, and what must not happen twice fails."""


class Closed(_Phase, frozen=True, tag="closed"):
    """The stream is closed: nothing more happens in this session."""


DurablePhase = Talking | Transferring | TransferCompleted | HangingUp | HandingOff
Phase = DurablePhase | Authorizing | StoreDown | Closed


class StreamStarted(msgspec.Struct, frozen=True):
    """A stream of the call has started, the first or another."""


class TransferRequested(msgspec.Struct, frozen=True):
    """The flow or an operator wants a transfer."""

    transfer: actions.Transfer


class TransferAuthorized(msgspec.Struct, frozen=True):
    """The transfer is allowed, as it stands here."""

    transfer: actions.Transfer


class TransferRejected(msgspec.Struct, frozen=True):
    """The transfer is not allowed: the flow continues in this stream."""


class TransferEnded(msgspec.Struct, frozen=True):
    """Dialing has ended."""

    result: events.TransferEnded


class HangUpRequested(msgspec.Struct, frozen=True):
    """The flow has ended."""

    hang_up: actions.HangUp


class HandoffStarted(msgspec.Struct, frozen=True):
    """The stream is to be given up now."""

    mode: HandoffMode


class CommitTimedOut(msgspec.Struct, frozen=True):
    """The store has not committed a side effect in time."""


class StoreRecovered(msgspec.Struct, frozen=True):
    """The store has committed again."""


class StreamClosed(msgspec.Struct, frozen=True):
    """The session closes: the call has left its stream, by whatever cause."""


PhaseEvent = (
    StreamStarted
    | TransferRequested
    | TransferAuthorized
    | TransferRejected
    | TransferEnded
    | HangUpRequested
    | HandoffStarted
    | CommitTimedOut
    | StoreRecovered
    | StreamClosed
)

STAY: Final = None
"""Target of events that are expected in a phase and do not change it."""

TRANSITIONS: dict[tuple[type[Phase], type[PhaseEvent]], type[Phase] | None] = {
    # The next stream
    (Talking, StreamStarted): Talking,
    (Transferring, StreamStarted): Talking,  # Twilio connects instead of dialing: nobody is rung twice
    (TransferCompleted, StreamStarted): Talking,
    (HandingOff, StreamStarted): Talking,
    (HangingUp, StreamStarted): STAY,
    # Transfers
    (Talking, TransferRequested): Authorizing,
    (Authorizing, TransferRequested): Authorizing,  # an operator's replaces the flow's
    (Transferring, TransferRequested): Authorizing,  # so does one before the commit
    (HandingOff, TransferRequested): STAY,  # the next stream requests it again
    (StoreDown, TransferRequested): STAY,  # it fails
    (Authorizing, TransferAuthorized): Transferring,
    (Authorizing, TransferRejected): Talking,
    (Transferring, TransferEnded): TransferCompleted,
    # The end of the flow
    (Talking, HangUpRequested): HangingUp,
    (Authorizing, HangUpRequested): HangingUp,
    (Transferring, HangUpRequested): HangingUp,  # an operator hangs up before the commit
    (HandingOff, HangUpRequested): HangingUp,
    (StoreDown, HangUpRequested): HangingUp,
    # Handoff: only where the flow is resumed from a checkpoint
    (Talking, HandoffStarted): HandingOff,
    # The store
    (Talking, CommitTimedOut): StoreDown,
    (Authorizing, CommitTimedOut): StoreDown,
    (Transferring, CommitTimedOut): StoreDown,
    (HandingOff, CommitTimedOut): StoreDown,
    (HangingUp, CommitTimedOut): STAY,  # hanging up needs no commit
    (StoreDown, StoreRecovered): Talking,
    # The end of the session
    (Talking, StreamClosed): Closed,
    (Authorizing, StreamClosed): Closed,
    (Transferring, StreamClosed): Closed,
    (TransferCompleted, StreamClosed): Closed,
    (HangingUp, StreamClosed): Closed,
    (HandingOff, StreamClosed): Closed,
    (StoreDown, StreamClosed): Closed,
    (Closed, StreamClosed): STAY,
}


class IllegalTransition(Exception):
    """An event came in a phase in which it cannot."""


def advance(phase: Phase, event: PhaseEvent) -> Phase:
    """Return the phase after the event. Raises IllegalTransition."""
    try:
        target = TRANSITIONS[type(phase), type(event)]
    except KeyError:
        raise IllegalTransition(f"{type(event).__name__} while {type(phase).__name__}") from None
    if target is None:
        return phase
    fields = target.__struct_fields__
    return target(**{name: getattr(event, name) for name in fields})


def durable(phase: Phase) -> DurablePhase | None:
    """Return the phase as the store gets it, None for Closed, which changes nothing there.

    A transfer that may yet be rejected and an outage of the store are this stream's own: another one resumes the flow.
    """
    match phase:
        case Authorizing() | StoreDown():
            return Talking()
        case Closed():
            return None
        case _:
            return phase


def may_save_heartbeat(phase: Phase) -> bool:
    """Whether the state can be saved without a side effect that waits for it.

    Not while a transfer is being authorized: its node has been entered, and a stream that resumed there would skip it.
    """
    return isinstance(phase, Talking | HandingOff | StoreDown)
