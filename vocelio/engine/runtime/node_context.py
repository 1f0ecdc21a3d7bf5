"""NodeContext: the operations that a node can perform on its call, and the transitions that it can request.

A node has no access to the outside world: each operation changes the session state and appends an action. Pending
operations are identified by ids, so late events are recognized as stale.
"""

from collections.abc import Mapping
from hashlib import sha256
from typing import Any, Literal, TypeVar

import msgspec

from vocelio.engine import actions
from vocelio.engine.runtime.state import Owner, Prompt, SessionState, Timer
from vocelio.engine.runtime.template_scope import TemplateScope
from vocelio.engine.templating.template import Template, TemplateValue
from vocelio.engine.variables import MAX_VARIABLES, to_json_value
from vocelio.engine.voice import Voice

MemoryT = TypeVar("MemoryT", bound=msgspec.Struct)

MAX_BUFFERED_KEYS = 32  # type-ahead: longer than any menu path or account number
_RECORDING_ID_PREFIX = "r"


class TakeExit(msgspec.Struct, frozen=True):
    """Leave the node by an exit. If the exit is not connected the call ends, with a goodbye if ``say_goodbye``."""

    exit_name: str
    say_goodbye: bool = True


class CallSubflow(msgspec.Struct, frozen=True):
    """Call another flow, ``reference`` in this version's subflows, with input variables."""

    reference: str
    inputs: dict[str, Any]
    sensitive_inputs: dict[str, Any]


class ReturnFromFlow(msgspec.Struct, frozen=True):
    """Return from this flow by its end of that name."""

    end_name: str


class JumpToNode(msgspec.Struct, frozen=True):
    """Jump to a node of the flow at ``depth`` (0 is the call's own), leaving the flows above it."""

    depth: int
    node: str


Transition = TakeExit | CallSubflow | ReturnFromFlow | JumpToNode


class ActiveGlobalCommand(msgspec.Struct, frozen=True):
    """A global command of the flow at ``depth``: its phrases, its key, and the node that it leads to.

    ``target`` is "@repeat" to ask the question again.
    """

    phrases: tuple[str, ...]
    key: str
    target: str
    depth: int


class NodeContext(TemplateScope):
    """The call as its nodes see it.

    ``transition`` is what the node requested; ``global_commands`` are those of all active flows.
    """

    def __init__(self, state: SessionState, voice: Voice) -> None:
        super().__init__(state)
        self.transition: Transition | None = None
        self.global_commands: Mapping[str, ActiveGlobalCommand] = {}
        self._default_voice = voice

    # State of the node and of the call

    def memory(self, kind: type[MemoryT]) -> MemoryT:
        """Return the node's memory of this visit; created with its defaults on first use."""
        memory = self.state.private.node_memory
        if not isinstance(memory, kind):
            memory = kind() if memory is None else msgspec.convert(memory, kind)
            self.state.private.node_memory = memory
        return memory

    @property
    def caller_is_speaking(self) -> bool:
        """True during an utterance that has not been taken as an answer yet."""
        return self.state.caller_speaking and not self.state.utterance_consumed

    @property
    def is_playing_prompt(self) -> bool:
        """True while a prompt of this node is playing."""
        return any(prompt.owner == "node" for prompt in self.state.prompts.values())

    @property
    def voice(self) -> Voice:
        """The flow's current voice."""
        return self.state.voice or self._default_voice

    def visit_key(self) -> str:
        """Return a key unique to this visit of the node, and the same in every replay."""
        state = self.state
        return sha256(f"{state.call_info.call_id}/{state.visit_count}/{state.node}".encode()).hexdigest()[:32]

    # Operations

    def set_variable(self, name: str, value: Any, *, sensitive: bool = False) -> None:
        """Set a flow variable; sensitive ones are stored separately.

        A value that is too large is reported and stored as None.
        """
        state = self.state
        try:
            value = to_json_value(value)
        except ValueError as error:
            self.report_problem(f"the value for `{name}` {error}")
            value = None
        variables = {key: other for key, other in state.variables.items() if key != name}
        sensitive_variables = {key: other for key, other in state.sensitive_variables.items() if key != name}
        if len(variables) + len(sensitive_variables) >= MAX_VARIABLES:
            self.report_problem(f"a flow has at most {MAX_VARIABLES} variables")
        else:
            (sensitive_variables if sensitive else variables)[name] = value
        state.variables = variables
        self._set_sensitive_variables(sensitive_variables)

    def _set_sensitive_variables(self, variables: dict[str, Any]) -> None:
        state = self.state
        levels = [*state.private.variables, *({} for _ in range(len(state.stack) + 1))][: len(state.stack) + 1]
        levels[-1] = variables
        state.private.variables = levels if any(levels) else []

    def set_result(self, **values: Any) -> None:
        """Set the node's result, which templates read as ``{{ this_node.value }}``."""
        self.state.results = {**self.state.results, self.state.node: values}

    def take_exit(self, exit_name: str, *, say_goodbye: bool = True) -> None:
        """Leave the node by an exit. If the exit is not connected the call ends, with a goodbye if ``say_goodbye``."""
        self.transition = TakeExit(exit_name, say_goodbye)

    def call_subflow(self, reference: str, inputs: Mapping[str, TemplateValue]) -> None:
        """Call another flow with ``inputs`` as initial values of its variables."""
        values = {name: self.render_value(value) for name, value in inputs.items()}
        sensitive = {name: values.pop(name) for name, value in inputs.items() if self.reads_sensitive(value)}
        self.transition = CallSubflow(reference, values, sensitive)

    def return_from_flow(self, end_name: str) -> None:
        """Return from this flow by its end of that name."""
        self.transition = ReturnFromFlow(end_name)

    def follow_command(self, command: ActiveGlobalCommand) -> None:
        """Jump to the target of a global command."""
        self.transition = JumpToNode(command.depth, command.target)

    def speak(
        self,
        text: str,
        *,
        barge_in: bool = True,
        voice: Voice | None = None,
        audio: str = "",
        owner: Owner = "node",
        sensitive: bool = False,
    ) -> None:
        """Play a prompt. A pending prefix (``next_prompt_prefix``) waits for the first prompt that is a text."""
        if not audio:
            text, self.state.next_prompt_prefix = self.state.next_prompt_prefix + text, ""
        prompt_id = self._next_id("p")
        self.state.prompts = {**self.state.prompts, prompt_id: Prompt(barge_in, owner=owner)}
        self.actions.append(actions.Speak(prompt_id, text, voice or self.voice, barge_in, audio, sensitive))

    def speak_template(
        self,
        template: Template,
        *,
        prefix: str = "",
        extra: Mapping[str, Any] | None = None,
        barge_in: bool = True,
        voice: Voice | None = None,
        sensitive: bool = False,
    ) -> bool:
        """Play a template's text. Returns False if the text is blank: then nothing is played."""
        text = prefix + self.render_text(template, extra)
        if not (self.state.next_prompt_prefix + text).strip():
            return False
        self.speak(text, barge_in=barge_in, voice=voice, sensitive=sensitive or self.reads_sensitive(template))
        return True

    def stop_speaking(self) -> None:
        """Stop all prompts that allow barge-in."""
        for prompt_id, prompt in self.state.prompts.items():
            if prompt.barge_in:
                self._stop_prompt(prompt_id, prompt)

    def listen(
        self,
        phrases: tuple[str, ...],
        *,
        phrases_repeat: bool = False,
        silence_seconds: float = 0.6,
        sensitive: bool = False,
    ) -> None:
        """Recognize the current utterance if it has not been taken as an answer yet, otherwise the next one."""
        self.stop_listening()
        self.state.recognition_id = self._next_id("l")
        self.actions.append(
            actions.Listen(
                self.state.recognition_id,
                phrases,
                self.voice.language,
                phrases_repeat,
                silence_seconds,
                ignore_current_utterance=self.state.caller_speaking and self.state.utterance_consumed,
                sensitive=sensitive,
                tier=self.voice.tier,
            )
        )

    def stop_listening(self) -> None:
        """Stop the recognition."""
        if self.state.recognition_id:
            self.actions.append(actions.StopListening(self.state.recognition_id))
            self.state.recognition_id = ""

    def consume_utterance(self) -> None:
        """Mark the current utterance as answered: the rest of it is ignored."""
        self.state.utterance_consumed = self.state.caller_speaking

    def start_timer(self, name: str, seconds: float, owner: Owner = "node") -> None:
        """Start or restart the timer of that name."""
        self.cancel_timer(name)
        timer_id = self._next_id("t")
        self.state.timers = {**self.state.timers, timer_id: Timer(name, owner)}
        self.actions.append(actions.StartTimer(timer_id, seconds))

    def cancel_timer(self, name: str) -> None:
        """Cancel the timer of that name, if it is running."""
        for timer_id in [key for key, timer in self.state.timers.items() if timer.name == name]:
            self.state.timers = {key: timer for key, timer in self.state.timers.items() if key != timer_id}
            self.actions.append(actions.CancelTimer(timer_id))

    def consume_keys(self, count: int | None = None) -> str:
        """Remove up to ``count`` keys (default: all) from the buffer, oldest first, and return them."""
        keys = self.state.private.buffered_keys[:count]
        self.state.private.buffered_keys = self.state.private.buffered_keys[len(keys) :]
        return keys

    def buffer_key(self, key: str) -> None:
        """Buffer a key until a node consumes it. When the buffer is full, the new key is dropped."""
        self.state.private.buffered_keys = (self.state.private.buffered_keys + key)[:MAX_BUFFERED_KEYS]

    def set_echo(self, enabled: bool) -> None:
        """Start or stop sending the caller's audio back."""
        if enabled != self.state.echoing:
            self.state.echoing = enabled
            self.actions.append(actions.Echo(enabled))

    def start_transfer(self, **parameters: Any) -> None:
        """Start a transfer; ``parameters`` are the action's fields."""
        self.state.pending_id = self._next_id("x")
        self.actions.append(actions.Transfer(self.state.pending_id, **parameters))

    def enqueue_caller(self, **parameters: Any) -> None:
        """Put the caller into a queue; ``parameters`` are the action's fields."""
        self.state.pending_id = self._next_id("q")
        self.actions.append(actions.Queue(self.state.pending_id, **parameters))

    def send_request(self, **parameters: Any) -> None:
        """Send an HTTP request; ``parameters`` are the action's fields."""
        self.state.pending_id = self._next_id("h")
        self.actions.append(actions.Request(self.state.pending_id, self.visit_key(), **parameters))

    def start_recording(self, **parameters: Any) -> None:
        """Start to record the caller; ``parameters`` are the action's fields."""
        self.state.pending_id = self._next_id(_RECORDING_ID_PREFIX)
        self.actions.append(actions.Record(self.state.pending_id, **parameters))

    def stop_recording(self) -> None:
        """Complete the recording; RecordingEnded is still expected."""
        if self.state.pending_id.startswith(_RECORDING_ID_PREFIX):
            self.actions.append(actions.StopRecording(self.state.pending_id))

    def hang_up(
        self,
        text: str = "",
        outcome: Literal["completed", "transferred", "failed"] = "completed",
        disposition: str = "",
        *,
        sensitive: bool = False,
    ) -> None:
        """End the call after ``text`` has been played."""
        self.state.pending_hang_up = actions.HangUp(outcome, disposition)
        if text:
            self.speak(text, barge_in=False, owner="session", sensitive=sensitive)

    def cancel_pending(self, owner: Owner | None = None) -> None:
        """Cancel all pending operations; of prompts and timers only those of ``owner``, if given."""
        self.stop_listening()
        self.set_echo(False)
        self.stop_recording()
        self.state.pending_id = ""
        for timer_id, timer in self.state.timers.items():
            if owner in (None, timer.owner):
                self.actions.append(actions.CancelTimer(timer_id))
        self.state.timers = {k: t for k, t in self.state.timers.items() if owner not in (None, t.owner)}
        for prompt_id, prompt in self.state.prompts.items():
            if owner in (None, prompt.owner):
                self._stop_prompt(prompt_id, prompt)
        self.state.prompts = {k: p for k, p in self.state.prompts.items() if owner not in (None, p.owner)}

    def discard_pending(self) -> None:
        """Forget all pending operations, which ended with their stream: no action stops them."""
        state = self.state
        state.recognition_id = state.pending_id = state.private.buffered_keys = ""
        state.timers, state.prompts = {}, {}
        state.caller_speaking = state.utterance_consumed = state.echoing = state.operator_transfer_pending = False

    def _stop_prompt(self, prompt_id: str, prompt: Prompt) -> None:
        if not prompt.stopping:
            prompt.stopping = True
            self.actions.append(actions.StopSpeaking(prompt_id))

    def _next_id(self, kind: str) -> str:
        self.state.last_id += 1
        return f"{kind}{self.state.last_id}"
