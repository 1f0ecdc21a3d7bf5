"""The phases of a call: each transition of the table, and every event that must not come."""

import itertools
from typing import get_args

import msgspec
import pytest

from vocelio.engine import events
from vocelio.engine.actions import HangUp, Transfer
from vocelio.gateway.calls import phase as phases
from vocelio.gateway.calls.phase import (
    TRANSITIONS,
    Authorizing,
    Closed,
    CommitTimedOut,
    DurablePhase,
    HandingOff,
    HandoffStarted,
    HangingUp,
    HangUpRequested,
    IllegalTransition,
    Phase,
    PhaseEvent,
    StoreDown,
    StoreRecovered,
    StreamClosed,
    StreamStarted,
    Talking,
    TransferAuthorized,
    TransferCompleted,
    TransferEnded,
    TransferRejected,
    TransferRequested,
    Transferring,
)

FIRST, SECOND = Transfer("x1", department="sales"), Transfer("x2", department="billing")
RESULT = events.TransferEnded(5.0, "x1", "busy")
HANG_UP = HangUp("completed")

PHASES = (
    Talking(),
    Authorizing(FIRST),
    Transferring(FIRST),
    TransferCompleted(RESULT),
    HangingUp(HANG_UP),
    HandingOff("immediate"),
    StoreDown(),
    Closed(),
)
EVENTS = (
    StreamStarted(),
    TransferRequested(SECOND),
    TransferAuthorized(SECOND),
    TransferRejected(),
    TransferEnded(RESULT),
    HangUpRequested(HANG_UP),
    HandoffStarted("between_prompts"),
    CommitTimedOut(),
    StoreRecovered(),
    StreamClosed(),
)
LEGAL = [
    (Talking(), StreamStarted(), Talking()),
    (Transferring(FIRST), StreamStarted(), Talking()),
    (TransferCompleted(RESULT), StreamStarted(), Talking()),
    (HandingOff("immediate"), StreamStarted(), Talking()),
    (HangingUp(HANG_UP), StreamStarted(), HangingUp(HANG_UP)),
    (Talking(), TransferRequested(FIRST), Authorizing(FIRST)),
    (Authorizing(FIRST), TransferRequested(SECOND), Authorizing(SECOND)),
    (Transferring(FIRST), TransferRequested(SECOND), Authorizing(SECOND)),
    (HandingOff("immediate"), TransferRequested(SECOND), HandingOff("immediate")),
    (StoreDown(), TransferRequested(SECOND), StoreDown()),
    (Authorizing(FIRST), TransferAuthorized(SECOND), Transferring(SECOND)),
    (Authorizing(FIRST), TransferRejected(), Talking()),
    (Transferring(FIRST), TransferEnded(RESULT), TransferCompleted(RESULT)),
    (Talking(), HangUpRequested(HANG_UP), HangingUp(HANG_UP)),
    (Authorizing(FIRST), HangUpRequested(HANG_UP), HangingUp(HANG_UP)),
    (Transferring(FIRST), HangUpRequested(HANG_UP), HangingUp(HANG_UP)),
    (HandingOff("immediate"), HangUpRequested(HANG_UP), HangingUp(HANG_UP)),
    (StoreDown(), HangUpRequested(HANG_UP), HangingUp(HANG_UP)),
    (Talking(), HandoffStarted("between_prompts"), HandingOff("between_prompts")),
    (Talking(), CommitTimedOut(), StoreDown()),
    (Authorizing(FIRST), CommitTimedOut(), StoreDown()),
    (Transferring(FIRST), CommitTimedOut(), StoreDown()),
    (HandingOff("immediate"), CommitTimedOut(), StoreDown()),
    (HangingUp(HANG_UP), CommitTimedOut(), HangingUp(HANG_UP)),
    (StoreDown(), StoreRecovered(), Talking()),
    *((phase, StreamClosed(), Closed()) for phase in PHASES),
]
LEGAL_PAIRS = {(type(phase), type(event)) for phase, event, _ in LEGAL}
ILLEGAL = [pair for pair in itertools.product(PHASES, EVENTS) if (type(pair[0]), type(pair[1])) not in LEGAL_PAIRS]


def describe(value):
    return "" if value is None else type(value).__name__


@pytest.mark.parametrize(("phase", "event", "following"), LEGAL, ids=describe)
def test_transition(phase, event, following):
    assert phases.advance(phase, event) == following


@pytest.mark.parametrize(("phase", "event"), ILLEGAL, ids=describe)
def test_event_without_a_row_is_illegal(phase, event):
    with pytest.raises(IllegalTransition, match=f"^{describe(event)} while {describe(phase)}$"):
        phases.advance(phase, event)


def test_every_phase_event_and_row_is_covered():
    assert {type(phase) for phase in PHASES} == set(get_args(Phase))
    assert {type(event) for event in EVENTS} == set(get_args(PhaseEvent))
    assert set(TRANSITIONS) == LEGAL_PAIRS
    assert len(LEGAL) + len(ILLEGAL) == len(PHASES) * len(EVENTS)


@pytest.mark.parametrize(
    ("phase", "stored"),
    [
        (Talking(), Talking()),
        (Authorizing(FIRST), Talking()),
        (Transferring(FIRST), Transferring(FIRST)),
        (TransferCompleted(RESULT), TransferCompleted(RESULT)),
        (HangingUp(HANG_UP), HangingUp(HANG_UP)),
        (HandingOff("immediate"), HandingOff("immediate")),
        (StoreDown(), Talking()),
        (Closed(), None),
    ],
    ids=describe,
)
def test_what_the_store_gets_of_a_phase(phase, stored):
    assert phases.durable(phase) == stored
    if stored is not None:
        assert msgspec.json.decode(msgspec.json.encode(stored), type=DurablePhase) == stored


@pytest.mark.parametrize("phase", PHASES, ids=describe)
def test_heartbeats_are_saved_only_where_a_stream_could_resume(phase):
    assert phases.may_save_heartbeat(phase) == isinstance(phase, Talking | HandingOff | StoreDown)
