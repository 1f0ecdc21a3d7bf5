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
from vocelio.engine.document import FlowVersion
from vocelio.engine.errors import CheckpointError, EventError
from vocelio.engine.facts import CallFacts
from vocelio.engine.node import Node
from vocelio.engine.run import Run
from vocelio.engine.state import State

MAX_STEPS = 100  # nodes entered by one event: a flow that walks further never waits for anything
APOLOGY = "Sorry, something went wrong. Please call again later. Goodbye."
GOODBYE = "Thank you for calling. Goodbye."
TOO_LONG = "Sorry, this call has reached its longest time. Goodbye."
LETS_GO_ON = "Sorry, let's go on. "


class Session:
    """One call's way through a flow."""

    def __init__(self, version: FlowVersion, begin: CallFacts | State) -> None:
        if isinstance(begin, CallFacts):
            begin = State(version.id, begin, variables=dict(version.flow.variables))
        state = begin
        self._flow = version.flow
        self._state: State = state
        self._run = Run(state, version.flow.voice)

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
        """The state as a small JSON-able value."""
        held: dict[str, Any] = msgspec.to_builtins(self._state)
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
    def node(self) -> str:
        """The node where the call is."""
        return self._state.node

    def actions(self) -> list[AnyAction]:
        """What to do now, in order; each is given once."""
        drained, self._run.actions = self._run.actions, []
        return drained

    def receive(self, event: events.AnyEvent) -> None:
        """Take an event. Raises EventError when time runs backwards."""
        state = self._state
        if state.ended:
            return
        if event.at < state.at:
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
                    run.start_timer("longest call", self._flow.max_seconds, "session")
                    self._enter(self._flow.start)
            case events.CallEnded():
                self._end("transferred" if state.outcome == "transferred" else "abandoned")
            case events.PromptFinished() | events.PromptInterrupted():
                prompt = state.speaking.get(event.id)
                if prompt:
                    state.speaking = {key: value for key, value in state.speaking.items() if key != event.id}
                    if prompt.owner == "node":
                        self._hand(event)
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
                run.keep_key(event.key)
                run.note("key.pressed", node=state.node)
                run.stop_speaking()
                self._hand(event)
            case events.TimerFired():
                self._timer_fired(event)
            case events.TransferEnded() | events.ReplyArrived() | events.RecordingEnded() | events.QueueEnded():
                if event.id == state.pending:
                    state.pending = ""
                    self._ended_elsewhere(event)
            case events.Commanded():
                self._commanded(event)
            case events.CallResumed():
                self._resumed()
            case _:
                assert_never(event)

    def _recognised(self, event: events.Heard | events.ListeningFailed) -> None:
        state = self._state
        if event.id != state.listening:
            return
        if isinstance(event, events.ListeningFailed) or event.final:
            state.listening = ""
            state.answered = state.speech
        self._hand(event)

    def _ended_elsewhere(self, event: events.AnyEvent) -> None:
        """An operator's transfer is not the node's: unanswered, the caller is asked again where the call was."""
        commanded, self._state.commanded = self._state.commanded, False
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
        self._state.timers = {key: value for key, value in self._state.timers.items() if key != event.id}
        if timer.owner == "node":
            self._hand(events.TimerFired(event.at, timer.name))
        else:
            self._run.note("call.too_long", seconds=self._flow.max_seconds)
            self._finish(TOO_LONG, "failed")

    def _commanded(self, event: events.Commanded) -> None:
        run = self._run
        match event.command:
            case "say":
                run.speak(event.value, barge_in=False, owner="session")
            case "jump":
                if event.value in self._flow.nodes:
                    run.drop_all("node")
                    self._enter(event.value)
            case "transfer":
                run.drop_all("node")
                self._state.commanded = True
                run.transfer(department=event.value)
            case "hang_up":
                self._finish("", "completed")

    def _resumed(self) -> None:
        state, run = self._state, self._run
        run.forget_all()
        left = max(1.0, self._flow.max_seconds - state.at)
        run.start_timer("longest call", left, "session")
        if not state.node:
            self._enter(self._flow.start)
        elif state.closing is None:
            state.preface = LETS_GO_ON
            self._node.resume(run)

    @property
    def _node(self) -> Node:
        return self._flow.nodes[self._state.node]

    def _hand(self, event: events.AnyEvent) -> None:
        if self._state.node and self._state.closing is None:
            self._node.receive(self._run, event)

    # Moving through the flow

    def _enter(self, name: str) -> None:
        state = self._state
        state.node, state.memory = name, None
        state.visits += 1
        self._run.note("node.entered", node=name, type=self._node.type)
        self._node.enter(self._run)

    def _walk(self) -> None:
        run = self._run
        for _ in range(MAX_STEPS):
            if run.exit is None or self._state.closing is not None:
                run.exit = None
                return
            (exit_name, goodbye), run.exit = run.exit, None
            target = self._node.exits.get(exit_name)
            run.note("node.left", node=self._state.node, exit=exit_name)
            run.drop_all("node")
            if target is None:
                self._finish(GOODBYE if goodbye else "", "completed" if goodbye else "transferred")
            else:
                self._enter(target)
        run.exit = None
        run.problem(f"the flow went through {MAX_STEPS} nodes without waiting for anything")
        self._finish(APOLOGY, "failed")

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
