"""Fuzz flow sessions with random flows and events.

A session never raises, never continues after its end, always waits for something, resumes from any checkpoint and is
reproduced by a replay.
"""

from typing import Any

import msgspec
from hypothesis import given

from tests.fuzz.flow_strategies import RANDOM_EVENT_LISTS, RandomEvent, flow_versions, fuzz
from tests.support.session_driver import make_call_info
from vocelio.engine import actions, events
from vocelio.engine.flow import FlowVersion
from vocelio.engine.flow_stack import MAX_TRANSITIONS_PER_EVENT
from vocelio.engine.hours import OpeningHours
from vocelio.engine.runtime.state import SessionState
from vocelio.engine.session import FlowSession

CALL_INFO = make_call_info(
    departments={"sales": ""}, hours={"sales": OpeningHours(weekly={"tue": (("14:00", "15:00"),)})}
)
BODIES: list[Any] = [
    None,
    {"a": {"b": 1}},
    {"a": {"b": "x" * 3000}},
    {"a": {"b": [1.5, {"c": "d"}]}},
    [1],
    "a",
    {"a": {"b": 2**70}},
]


def likely_event(number: int, state: SessionState) -> str:
    """The kind of event that usually comes next."""
    if state.pending_id:
        return {"h": "reply", "x": "transfer", "r": "recording", "q": "queue"}[state.pending_id[0]]
    if state.prompts and number < 6:
        return "played"
    if state.recognition_id:
        return "speech" if not state.caller_speaking else ("partly", "heard", "heard", "quiet", "timer")[number % 5]
    return ("key", "timer", "timer")[number % 3]


def as_event(random_event: RandomEvent, at: float, state: SessionState) -> events.AnyEvent:
    """The event, with an id that is pending, or with one that is not."""
    kind, number, word, _ = random_event
    if kind == "likely":
        kind = likely_event(number, state)

    def one_of(ids: Any) -> str:
        live = [*ids, "p0"]
        return live[number % len(live)] if number < 8 else "p0"

    listening = state.recognition_id if number < 8 else "l0"
    pending = state.pending_id if number < 8 else "x0"
    endings = ("answered", "busy", "no_answer", "failed")
    makers: dict[str, Any] = {
        "played": lambda: events.PromptFinished(at, one_of(state.prompts)),
        "interrupted": lambda: events.PromptInterrupted(at, one_of(state.prompts), number / 10),
        "speech": lambda: events.SpeechStarted(at),
        "quiet": lambda: events.SpeechEnded(at),
        "partly": lambda: events.TranscriptReceived(at, listening, word, False),
        "heard": lambda: events.TranscriptReceived(at, listening, word, True),
        "deaf": lambda: events.ListeningFailed(at, listening),
        "key": lambda: events.KeyPressed(at, "0123456789*#AX "[number]),
        "timer": lambda: events.TimerFired(at, one_of(state.timers)),
        "reply": lambda: events.RequestEnded(
            at, pending, ("ok", "error", "timeout")[number % 3], 200 + 100 * (number % 4), BODIES[number % len(BODIES)]
        ),
        "transfer": lambda: events.TransferEnded(at, pending, endings[number % 4], 3.0),
        "recording": lambda: events.RecordingEnded(at, pending, float(number), "rec/1"),
        "queue": lambda: events.QueueEnded(at, pending, ("answered", "timeout", "callback", "failed")[number % 4]),
        "say": lambda: events.OperatorCommand(at, "say", word),
        "jump": lambda: events.OperatorCommand(at, "jump", f"n{number}"),
        "divert": lambda: events.OperatorCommand(at, "transfer", "sales"),
        "hang_up": lambda: events.OperatorCommand(at, "hang_up"),
        "resumed": lambda: events.CallResumed(at),
        "gone": lambda: events.CallEnded(at),
    }
    event: events.AnyEvent = makers[kind]()
    return event


def run_session(
    version: FlowVersion, random_events: list[RandomEvent]
) -> tuple[list[events.AnyEvent], list[list[actions.AnyAction]]]:
    """Run the call and check the invariants after each event."""
    session, at, fed_events, actions_by_event = (
        FlowSession(version, CALL_INFO),
        0.0,
        list[events.AnyEvent](),
        list[list[actions.AnyAction]](),
    )
    ids: set[str] = set()
    for random_event in (None, *random_events):
        at += random_event[3] if random_event else 0.0
        event = as_event(random_event, at, session._state) if random_event else events.CallStarted(at)
        saved = session.checkpoint()
        written = msgspec.json.encode(saved)
        assert msgspec.json.decode(written) == saved, "a checkpoint survives a JSON round trip"
        ended = session.ended
        session.receive(event)
        new_actions = session.actions()
        twin = FlowSession.resume(version, msgspec.json.decode(written))
        twin.receive(event)
        assert twin.actions() == new_actions
        assert twin.checkpoint() == session.checkpoint()
        assert not (ended and new_actions), "no actions after the end"
        check_step(new_actions, session, ids)
        fed_events.append(event)
        actions_by_event.append(new_actions)
    return fed_events, actions_by_event


def check_step(new_actions: list[actions.AnyAction], session: FlowSession, ids: set[str]) -> None:
    assert msgspec.json.decode(msgspec.json.encode(new_actions), type=list[actions.AnyAction]) is not None
    entered = [a for a in new_actions if isinstance(a, actions.EmitEvent) and a.type == "node.entered"]
    assert len(entered) <= MAX_TRANSITIONS_PER_EVENT + 1
    for place, action in enumerate(new_actions):
        match action:
            case actions.HangUp():
                assert place == len(new_actions) - 1, "HangUp is the last action"
                assert session.ended
            case actions.StopSpeaking() | actions.StopListening() | actions.CancelTimer() | actions.StopRecording():
                assert action.id in ids, "only known ids are stopped"
            case actions.EmitEvent() | actions.Echo():
                pass
            case _:
                assert action.id not in ids, "ids are unique"
                ids.add(action.id)
    if not session.ended and session.node:
        state = session._state
        assert state.timers or state.prompts or state.pending_id, (
            "the call waits for an event that does not need the caller"
        )


@fuzz
@given(flow_versions(), RANDOM_EVENT_LISTS)
def test_any_call_in_any_flow(version: FlowVersion, random_events: list[RandomEvent]) -> None:
    fed_events, actions_by_event = run_session(version, random_events)
    again = FlowSession(version, CALL_INFO)
    for event, new_actions in zip(fed_events, actions_by_event, strict=True):
        again.receive(event)
        assert again.actions() == new_actions, "a replay gives the same actions"
