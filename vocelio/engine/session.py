"""FlowSession: runs one call through one flow version, without a clock, a socket or a thread.

    session = FlowSession(version, call_info)
    session.receive(event)
    for action in session.actions(): ...
    state = session.checkpoint()
    session = FlowSession.resume(version, state)

The same events always give the same actions. The session decides which events are stale, what interrupts a prompt and
when the call has ended; everything else is up to the nodes. After HangUp or CallEnded the session has ended: it ignores
events and gives no more actions.
"""

from typing import Any, assert_never

import msgspec

from vocelio.engine import events
from vocelio.engine.actions import AnyAction
from vocelio.engine.call_info import CallInfo
from vocelio.engine.errors import CheckpointError, EventError
from vocelio.engine.flow import FlowVersion
from vocelio.engine.flow_stack import FlowStack
from vocelio.engine.node import Node
from vocelio.engine.runtime.node_context import NodeContext
from vocelio.engine.runtime.state import SessionState

MAX_EVENT_SECONDS = 1e7  # four months: a later event cannot belong to a call
DTMF_KEYS = frozenset("0123456789*#ABCD")
DEFAULT_ERROR_MESSAGE = "Sorry, something went wrong. Please call again later. Goodbye."
GOODBYE_MESSAGE = "Thank you for calling. Goodbye."
MAX_DURATION_MESSAGE = "Sorry, this call has reached its longest time. Goodbye."
RESUME_MESSAGE = "Sorry, let's go on. "


class FlowSession:
    """One call in one flow version."""

    def __init__(self, version: FlowVersion, initial: CallInfo | SessionState) -> None:
        if isinstance(initial, CallInfo):
            initial = SessionState(version.id, initial, variables=dict(version.flow.variables))
        self._state: SessionState = initial
        self._max_seconds = version.flow.max_seconds
        self._context = NodeContext(initial, version.flow.voice)
        self._flow_stack = FlowStack(version, self._context)

    @classmethod
    def resume(cls, version: FlowVersion, checkpoint: dict[str, Any]) -> "FlowSession":
        """Restore a session from its checkpoint. Raises CheckpointError."""
        try:
            state = msgspec.convert(checkpoint, SessionState)
        except msgspec.ValidationError as error:
            raise CheckpointError(f"not a checkpoint of this release: {error}") from error
        if state.version_id != version.id:
            raise CheckpointError(f"saved by version {state.version_id}, not {version.id}")
        return cls(version, state)

    def checkpoint(self) -> dict[str, Any]:
        """Return the state as a small JSON-compatible value. Its key ``private`` has all sensitive values."""
        checkpoint: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(self._state))
        return checkpoint

    @property
    def ended(self) -> bool:
        """True once the session gives no more actions."""
        return self._state.ended

    @property
    def outcome(self) -> str:
        """How the call ended: completed, transferred, failed or abandoned; empty while it is live."""
        return self._state.outcome

    @property
    def disposition(self) -> str:
        """The disposition that the flow gave to the call's end."""
        return self._state.pending_hang_up.disposition if self._state.pending_hang_up else ""

    @property
    def at(self) -> float:
        """Seconds since the call's start, of the last event; no event can be earlier."""
        return self._state.at

    @property
    def node(self) -> str:
        """The current node, in the innermost flow."""
        return self._state.node

    @property
    def subflow_path(self) -> tuple[str, ...]:
        """The references of the active subflows, outermost first."""
        return tuple(frame.reference for frame in self._state.stack)

    @property
    def is_closing(self) -> bool:
        """True once the flow has decided to hang up and only plays its last prompts."""
        return self._state.pending_hang_up is not None

    def has_node(self, name: str) -> bool:
        """Return True if an operator can jump to the node of that name."""
        return self._flow_stack.has_node(name)

    @property
    def input_is_sensitive(self) -> bool:
        """True while the caller's input must not be stored or shown."""
        return bool(self._state.node) and self._node.input_is_sensitive

    def actions(self) -> list[AnyAction]:
        """Return the actions since the last call, in order."""
        drained, self._context.actions = self._context.actions, []
        return drained

    def receive(self, event: events.AnyEvent) -> None:
        """Process an event. Raises EventError if it is earlier than the last one."""
        state = self._state
        if state.ended:
            return
        if not state.at <= event.at < MAX_EVENT_SECONDS:
            raise EventError(f"{type(event).__name__} at {event.at}, after {state.at}")
        state.at = event.at
        self._dispatch(event)
        self._run_transitions()
        self._end_after_last_prompt()

    # Events: handled by the session, ignored as stale, or dispatched to the node

    def _dispatch(self, event: events.AnyEvent) -> None:
        state = self._state
        match event:
            case events.CallStarted():
                if not state.node:
                    self._start_flow(self._max_seconds)
            case events.CallEnded():
                self._mark_ended(state.pending_hang_up.outcome if state.pending_hang_up else "abandoned")
            case events.PromptFinished() | events.PromptInterrupted():
                self._on_prompt_ended(event)
            case events.SpeechStarted():
                state.caller_speaking, state.utterance_consumed = True, False
                self._context.stop_speaking()
                self._dispatch_to_node(event)
            case events.SpeechEnded():
                state.caller_speaking = state.utterance_consumed = False
                self._dispatch_to_node(event)
            case events.TranscriptReceived() | events.ListeningFailed():
                self._on_recognition(event)
            case events.KeyPressed():
                self._on_key(event)
            case events.TimerFired():
                self._on_timer(event)
            case events.TransferEnded() | events.RequestEnded() | events.RecordingEnded() | events.QueueEnded():
                if event.id == state.pending_id:
                    state.pending_id = ""
                    self._on_operation_ended(event)
            case events.OperatorCommand():
                self._on_operator_command(event)
            case events.CallResumed():
                self._on_resumed(event.between_prompts)
            case _:
                assert_never(event)

    def _start_flow(self, max_seconds: float) -> None:
        self._context.start_timer("max_duration", max_seconds, "session")
        self._flow_stack.start()

    def _on_prompt_ended(self, event: events.PromptFinished | events.PromptInterrupted) -> None:
        prompt = self._state.prompts.get(event.id)
        if prompt:
            self._state.prompts = {key: other for key, other in self._state.prompts.items() if key != event.id}
            if prompt.owner == "node":
                self._dispatch_to_node(event)

    def _on_recognition(self, event: events.TranscriptReceived | events.ListeningFailed) -> None:
        if event.id != self._state.recognition_id:
            return
        if isinstance(event, events.ListeningFailed) or event.final:
            self._state.recognition_id = ""
            self._context.consume_utterance()
        self._dispatch_to_node(event)

    def _on_key(self, event: events.KeyPressed) -> None:
        if event.key in DTMF_KEYS:
            self._context.buffer_key(event.key)
            self._context.emit("dtmf.received", node=self._state.node)
            self._context.stop_speaking()
            self._dispatch_to_node(event)

    def _on_operation_ended(self, event: events.AnyEvent) -> None:
        """Dispatch the end of an operation; after an operator's unanswered transfer, resume the current node."""
        by_operator = self._state.operator_transfer_pending
        self._state.operator_transfer_pending = False
        if isinstance(event, events.TransferEnded | events.QueueEnded):
            self._reset_for_new_stream()
        if not by_operator or not isinstance(event, events.TransferEnded):
            self._dispatch_to_node(event)
        elif event.result == "answered":
            self._hang_up("", "transferred")
        else:
            self._node.on_resume(self._context)

    def _on_timer(self, event: events.TimerFired) -> None:
        timer = self._state.timers.get(event.id)
        if timer is None:
            return
        self._state.timers = {key: other for key, other in self._state.timers.items() if key != event.id}
        if timer.owner == "node":
            self._dispatch_to_node(events.TimerFired(event.at, timer.name))
        else:
            self._context.emit("call.max_duration_reached", max_seconds=self._max_seconds)
            self._hang_up(MAX_DURATION_MESSAGE, "failed")

    def _on_operator_command(self, event: events.OperatorCommand) -> None:
        """Carry out an operator's command. Before the flow's start and while it is closing only hang_up is accepted."""
        context = self._context
        if event.command == "hang_up":
            self._hang_up("", "completed")
        elif self._state.pending_hang_up is None and self._state.node:
            match event.command:
                case "say":
                    context.speak(event.value, barge_in=False, owner="session")
                case "jump":
                    self._flow_stack.jump_to(event.value)
                case "transfer":
                    context.cancel_pending("node")
                    self._state.operator_transfer_pending = True
                    context.start_transfer(department=event.value)

    def _on_resumed(self, between_prompts: bool) -> None:
        state, context = self._state, self._context
        if not state.node:
            context.discard_pending()
            self._start_flow(self._max_seconds)
            return
        self._reset_for_new_stream()
        if state.pending_hang_up is None:
            state.next_prompt_prefix = "" if between_prompts else RESUME_MESSAGE
            self._node.on_resume(context)

    def _reset_for_new_stream(self) -> None:
        """Discard the operations and the speech state of the old stream; restart the timer of the maximum duration."""
        self._context.discard_pending()
        self._context.start_timer("max_duration", max(1.0, self._max_seconds - self._state.at), "session")

    @property
    def _node(self) -> Node:
        return self._flow_stack.node

    def _dispatch_to_node(self, event: events.AnyEvent) -> None:
        state = self._state
        if state.node and state.pending_hang_up is None and not state.operator_transfer_pending:
            self._node.on_event(self._context, event)

    def _run_transitions(self) -> None:
        unconnected = self._flow_stack.run_transitions()
        if unconnected is not None and unconnected.say_goodbye:
            self._hang_up(GOODBYE_MESSAGE, "completed")
        elif unconnected is not None:
            self._hang_up("", "transferred")
        elif self._flow_stack.stuck:
            self._hang_up(self._state.call_info.tenant.error_message or DEFAULT_ERROR_MESSAGE, "failed")

    # The end

    def _hang_up(self, text: str, outcome: Any) -> None:
        self._context.cancel_pending()
        self._context.hang_up(text, outcome)

    def _end_after_last_prompt(self) -> None:
        """Hang up once the last prompt has been played."""
        state = self._state
        if state.pending_hang_up is None or state.ended or state.prompts:
            return
        self._context.cancel_pending()
        self._context.actions.append(state.pending_hang_up)
        self._mark_ended(state.pending_hang_up.outcome)

    def _mark_ended(self, outcome: str) -> None:
        self._state.ended, self._state.outcome = True, outcome
