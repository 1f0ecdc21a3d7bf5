"""Whatever the flow and whatever happens: a session never raises, never goes on after its end, never runs without
waiting, comes back whole from any checkpoint, and does the same again when it is replayed.
"""

from typing import Any

import msgspec
from hypothesis import given

from tests.fuzz.flow_strategies import HAPPENING_LISTS, Happening, flow_versions, fuzz
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
    """What would happen next if nothing went wrong."""
    if state.pending_id:
        return {"h": "reply", "x": "transfer", "r": "recording", "q": "queue"}[state.pending_id[0]]
    if state.prompts and number < 6:
        return "played"
    if state.recognition_id:
        return "speech" if not state.caller_speaking else ("partly", "heard", "heard", "quiet", "timer")[number % 5]
    return ("key", "timer", "timer")[number % 3]


def as_event(happening: Happening, at: float, state: SessionState) -> events.AnyEvent:
    """The event, with an id that something waits for, or with one that nothing does."""
    kind, number, word, _ = happening
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
    made: events.AnyEvent = makers[kind]()
    return made


def run_session(
    version: FlowVersion, happenings: list[Happening]
) -> tuple[list[events.AnyEvent], list[list[actions.AnyAction]]]:
    """The call, with everything checked at each of its steps."""
    session, at, happened, done = (
        FlowSession(version, CALL_INFO),
        0.0,
        list[events.AnyEvent](),
        list[list[actions.AnyAction]](),
    )
    ids: set[str] = set()
    for happening in (None, *happenings):
        at += happening[3] if happening else 0.0
        event = as_event(happening, at, session._state) if happening else events.CallStarted(at)
        saved = session.checkpoint()
        written = msgspec.json.encode(saved)
        assert msgspec.json.decode(written) == saved, "a checkpoint comes back from JSON as it was"
        ended = session.ended
        session.receive(event)
        acted = session.actions()
        twin = FlowSession.resume(version, msgspec.json.decode(written))
        twin.receive(event)
        assert twin.actions() == acted
        assert twin.checkpoint() == session.checkpoint()
        assert not (ended and acted), "nothing follows the end"
        check_step(acted, session, ids)
        happened.append(event)
        done.append(acted)
    return happened, done


def check_step(acted: list[actions.AnyAction], session: FlowSession, ids: set[str]) -> None:
    assert msgspec.json.decode(msgspec.json.encode(acted), type=list[actions.AnyAction]) is not None
    entered = [a for a in acted if isinstance(a, actions.EmitEvent) and a.type == "node.entered"]
    assert len(entered) <= MAX_TRANSITIONS_PER_EVENT + 1
    for place, action in enumerate(acted):
        match action:
            case actions.HangUp():
                assert place == len(acted) - 1, "hanging up is the last thing"
                assert session.ended
            case actions.StopSpeaking() | actions.StopListening() | actions.CancelTimer() | actions.StopRecording():
                assert action.id in ids, "only what is under way is stopped"
            case actions.EmitEvent() | actions.Echo():
                pass
            case _:
                assert action.id not in ids, "an id is used once"
                ids.add(action.id)
    if not session.ended and session.node:
        state = session._state
        assert state.timers or state.prompts or state.pending_id, "something will happen, whatever the caller does"


@fuzz
@given(flow_versions(), HAPPENING_LISTS)
def test_any_call_in_any_flow(version: FlowVersion, happenings: list[Happening]) -> None:
    happened, done = run_session(version, happenings)
    again = FlowSession(version, CALL_INFO)
    for event, acted in zip(happened, done, strict=True):
        again.receive(event)
        assert again.actions() == acted, "replayed, it is the same call"
