"""The session: runs one call through one version of a flow, without a clock, a socket or a thread.

    session = Session(version, facts)
    session.receive(event)
    for action in session.actions(): ...
    state = session.checkpoint()
    session = Session.resume(version, state)

The same events always give the same actions. The session decides what is stale, what interrupts a prompt
and when the call has ended; all else is the nodes'. After its HangUp, or after CallEnded, it is over: events
are ignored and no action follows.
"""

from typing import Any, assert_never

import msgspec

from vocelio.engine import events
from vocelio.engine.actions import AnyAction
from vocelio.engine.call_info import CallFacts
from vocelio.engine.errors import CheckpointError, EventError
from vocelio.engine.flow import FlowVersion
from vocelio.engine.flow_stack import Travel
from vocelio.engine.node import Node
from vocelio.engine.runtime.node_context import Run
from vocelio.engine.runtime.state import State

LATEST = 1e7  # seconds: four months; what is later is no time of a call
KEYS = frozenset("0123456789*#ABCD")
APOLOGY = "Sorry, something went wrong. Please call again later. Goodbye."
GOODBYE = "Thank you for calling. Goodbye."
TOO_LONG = "Sorry, this call has reached its longest time. Goodbye."
LETS_GO_ON = "Sorry, let's go on. "


class Session:
    """One call's way through a flow."""

    def __init__(self, version: FlowVersion, begin: CallFacts | State) -> None:
        if isinstance(begin, CallFacts):
            begin = State(version.id, begin, variables=dict(version.flow.variables))
        self._state: State = begin
        self._longest = version.flow.max_seconds
        self._run = Run(begin, version.flow.voice)
        self._travel = Travel(version, self._run)

    @classmethod
    def resume(cls, version: FlowVersion, checkpoint: dict[str, Any]) -> "Session":
        """The session as it was when ``checkpoint`` was taken. Raises CheckpointError."""
        try:
            state = msgspec.convert(checkpoint, State)
        except msgspec.ValidationError as error:
            raise CheckpointError(f"not a checkpoint of this release: {error}") from error
        if state.flow != version.id:
            raise CheckpointError(f"saved by version {state.flow}, not {version.id}")
        return cls(version, state)

    def checkpoint(self) -> dict[str, Any]:
        """The state as a small JSON-able value. What may be sensitive is under its key ``private``."""
        held: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(self._state))
        return held

    @property
    def ended(self) -> bool:
        """True once nothing more can come of this session."""
        return self._state.ended

    @property
    def outcome(self) -> str:
        """How the call ended: completed, transferred, failed or abandoned; empty while it goes on."""
        return self._state.outcome

    @property
    def disposition(self) -> str:
        """What the flow called the way that the call ended."""
        return self._state.closing.disposition if self._state.closing else ""

    @property
    def at(self) -> float:
        """Seconds into the call: no event may be earlier."""
        return self._state.at

    @property
    def node(self) -> str:
        """The node where the call is, in the flow within."""
        return self._state.node

    @property
    def flows(self) -> tuple[str, ...]:
        """The flows within the call's own in which the call is, outermost first, as the flows around name them."""
        return tuple(frame.reference for frame in self._state.stack)

    @property
    def closing(self) -> bool:
        """True from when the flow has decided to hang up: what is left is to be heard, and no more."""
        return self._state.closing is not None

    def has_node(self, name: str) -> bool:
        """Whether an operator can let it jump to a node of that name."""
        return self._travel.knows(name)

    @property
    def confidential(self) -> bool:
        """True while what the caller says or presses must not be kept or shown."""
        return bool(self._state.node) and self._node.confidential

    def actions(self) -> list[AnyAction]:
        """What to do now, in order; each is given once."""
        drained, self._run.actions = self._run.actions, []
        return drained

    def receive(self, event: events.AnyEvent) -> None:
        """Take an event. Raises EventError when time runs backwards."""
        state = self._state
        if state.ended:
            return
        if not state.at <= event.at < LATEST:
            raise EventError(f"{type(event).__name__} at {event.at}, after {state.at}")
        state.at = event.at
        self._dispatch(event)
        self._walk()
        self._close()

    # Events: what is the session's own, what is stale, what is the node's

    def _dispatch(self, event: events.AnyEvent) -> None:
        state, run = self._state, self._run
        match event:
            case events.CallStarted():
                if not state.node:
                    self._begin(self._longest)
            case events.CallEnded():
                self._end(state.closing.outcome if state.closing else "abandoned")
            case events.PromptFinished() | events.PromptInterrupted():
                self._prompt_over(event)
            case events.SpeechStarted():
                state.speech, state.answered = True, False
                run.stop_speaking()
                self._hand(event)
            case events.SpeechEnded():
                state.speech = state.answered = False
                self._hand(event)
            case events.Heard() | events.ListeningFailed():
                self._recognised(event)
            case events.KeyPressed():
                self._key_pressed(event)
            case events.TimerFired():
                self._timer_fired(event)
            case events.TransferEnded() | events.ReplyArrived() | events.RecordingEnded() | events.QueueEnded():
                if event.id == state.pending:
                    state.pending = ""
                    self._ended_elsewhere(event)
            case events.Commanded():
                self._commanded(event)
            case events.CallResumed():
                self._resumed(event.between)
            case _:
                assert_never(event)

    def _begin(self, longest: float) -> None:
        self._run.start_timer("longest call", longest, "session")
        self._travel.begin()

    def _prompt_over(self, event: events.PromptFinished | events.PromptInterrupted) -> None:
        prompt = self._state.speaking.get(event.id)
        if prompt:
            self._state.speaking = {key: held for key, held in self._state.speaking.items() if key != event.id}
            if prompt.owner == "node":
                self._hand(event)

    def _recognised(self, event: events.Heard | events.ListeningFailed) -> None:
        if event.id != self._state.listening:
            return
        if isinstance(event, events.ListeningFailed) or event.final:
            self._state.listening = ""
            self._run.take_utterance()
        self._hand(event)

    def _key_pressed(self, event: events.KeyPressed) -> None:
        if event.key in KEYS:
            self._run.keep_key(event.key)
            self._run.note("key.pressed", node=self._state.node)
            self._run.stop_speaking()
            self._hand(event)

    def _ended_elsewhere(self, event: events.AnyEvent) -> None:
        """An operator's transfer is not the node's: unanswered, the caller is asked again where the call was."""
        commanded = self._state.commanded
        self._state.commanded = False
        if isinstance(event, events.TransferEnded | events.QueueEnded):
            self._new_stream()
        if not commanded or not isinstance(event, events.TransferEnded):
            self._hand(event)
        elif event.how == "answered":
            self._finish("", "transferred")
        else:
            self._node.resume(self._run)

    def _timer_fired(self, event: events.TimerFired) -> None:
        timer = self._state.timers.get(event.id)
        if timer is None:
            return
        self._state.timers = {key: held for key, held in self._state.timers.items() if key != event.id}
        if timer.owner == "node":
            self._hand(events.TimerFired(event.at, timer.name))
        else:
            self._run.note("call.too_long", seconds=self._longest)
            self._finish(TOO_LONG, "failed")

    def _commanded(self, event: events.Commanded) -> None:
        """Once the call is ending, or has not begun, an operator can only cut it off."""
        run = self._run
        if event.command == "hang_up":
            self._finish("", "completed")
        elif self._state.closing is None and self._state.node:
            match event.command:
                case "say":
                    run.speak(event.value, barge_in=False, owner="session")
                case "jump":
                    self._travel.jump_to(event.value)
                case "transfer":
                    run.drop_all("node")
                    self._state.commanded = True
                    run.transfer(department=event.value)

    def _resumed(self, between: bool) -> None:
        state, run = self._state, self._run
        if not state.node:
            run.forget_all()
            self._begin(self._longest)
            return
        self._new_stream()
        if state.closing is None:
            state.preface = "" if between else LETS_GO_ON
            self._node.resume(run)

    def _new_stream(self) -> None:
        """What was under way, and what was heard of the caller, was the old stream's; the call's time goes on."""
        self._run.forget_all()
        self._run.start_timer("longest call", max(1.0, self._longest - self._state.at), "session")

    @property
    def _node(self) -> Node:
        return self._travel.node

    def _hand(self, event: events.AnyEvent) -> None:
        state = self._state
        if state.node and state.closing is None and not state.commanded:
            self._node.receive(self._run, event)

    def _walk(self) -> None:
        unled = self._travel.walk()
        if unled is not None:
            self._finish(GOODBYE if unled.goodbye else "", "completed" if unled.goodbye else "transferred")
        elif self._travel.lost:
            self._finish(self._state.facts.tenant.apology or APOLOGY, "failed")

    # The end

    def _finish(self, text: str, outcome: Any) -> None:
        self._run.drop_all()
        self._run.hang_up(text, outcome)

    def _close(self) -> None:
        """The line is cut only when the last prompt has been heard."""
        state = self._state
        if state.closing is None or state.ended or state.speaking:
            return
        self._run.drop_all()
        self._run.actions.append(state.closing)
        self._end(state.closing.outcome)

    def _end(self, outcome: str) -> None:
        self._state.ended, self._state.outcome = True, outcome
