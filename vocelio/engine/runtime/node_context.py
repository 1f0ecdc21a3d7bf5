"""What a node does to the call it is part of: the verbs.

A node never touches the outside: each verb changes the state and appends an action. What is under way is
known by ids, so that whatever comes back late is recognised as stale.

Where a node sends the call: what the session does once the node has had its say.
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

MAX_BUFFERED_KEYS = 32  # typed before anything asks; longer than any menu path or account number
_RECORDING_ID_PREFIX = "r"


class ActiveGlobalCommand(msgspec.Struct, frozen=True):
    """What a caller may say or press at any question, and the node of the flow at ``depth`` where it leads.

    ``go`` is "@repeat" to hear the question again.
    """

    phrases: tuple[str, ...]
    key: str
    target: str
    depth: int


class NodeContext(TemplateScope):
    """The run of a flow, as its nodes see it. ``wishes`` are those of the flow and of the flows around it."""

    def __init__(self, state: SessionState, voice: Voice) -> None:
        super().__init__(state)
        self.transition: Transition | None = None
        self.global_commands: Mapping[str, ActiveGlobalCommand] = {}
        self._default_voice = voice

    # What the node remembers and knows

    def memory(self, kind: type[MemoryT]) -> MemoryT:
        """The node's own memory in this visit; made anew with its defaults on first use."""
        held = self.state.private.node_memory
        if not isinstance(held, kind):
            held = kind() if held is None else msgspec.convert(held, kind)
            self.state.private.node_memory = held
        return held

    @property
    def caller_is_speaking(self) -> bool:
        """True while the caller says something that has not been taken as an answer yet."""
        return self.state.caller_speaking and not self.state.utterance_consumed

    @property
    def is_playing_prompt(self) -> bool:
        """True while a prompt of this node is being played."""
        return any(prompt.owner == "node" for prompt in self.state.prompts.values())

    @property
    def voice(self) -> Voice:
        """The voice in which the flow speaks at present."""
        return self.state.voice or self._default_voice

    def visit_key(self) -> str:
        """A key that no other visit of any node has, the same whenever this visit is lived through."""
        state = self.state
        return sha256(f"{state.call_info.call_id}/{state.visit_count}/{state.node}".encode()).hexdigest()[:32]

    # What the node does

    def set_variable(self, name: str, value: Any, *, sensitive: bool = False) -> None:
        """Set one of the flow's variables; a sensitive one is kept apart. What is too large becomes None, noted."""
        state = self.state
        try:
            value = to_json_value(value)
        except ValueError as error:
            self.report_problem(f"the value for `{name}` {error}")
            value = None
        variables = {key: held for key, held in state.variables.items() if key != name}
        secrets = {key: held for key, held in state.sensitive_variables.items() if key != name}
        if len(variables) + len(secrets) >= MAX_VARIABLES:
            self.report_problem(f"a flow has at most {MAX_VARIABLES} variables")
        else:
            (secrets if sensitive else variables)[name] = value
        state.variables = variables
        self._set_sensitive_variables(secrets)

    def _set_sensitive_variables(self, variables: dict[str, Any]) -> None:
        state = self.state
        levels = [*state.private.variables, *({} for _ in range(len(state.stack) + 1))][: len(state.stack) + 1]
        levels[-1] = variables
        state.private.variables = levels if any(levels) else []

    def set_result(self, **values: Any) -> None:
        """What later templates read as ``{{ this_node.value }}``."""
        self.state.results = {**self.state.results, self.state.node: values}

    def take_exit(self, exit_name: str, *, say_goodbye: bool = True) -> None:
        """Leave by that exit. Where it leads nowhere the call ends, after a ``goodbye``."""
        self.transition = TakeExit(exit_name, say_goodbye)

    def call_subflow(self, reference: str, inputs: Mapping[str, TemplateValue]) -> None:
        """Go on in another flow, whose variables begin with these ``inputs``."""
        values = {name: self.render_value(value) for name, value in inputs.items()}
        private = {name: values.pop(name) for name, value in inputs.items() if self.reads_sensitive(value)}
        self.transition = CallSubflow(reference, values, private)

    def return_from_flow(self, end_name: str) -> None:
        """Leave this flow by its end of that name."""
        self.transition = ReturnFromFlow(end_name)

    def follow_command(self, command: ActiveGlobalCommand) -> None:
        """Go where the caller wished to."""
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
        """Play a prompt. What is to be said first waits for one that is a text."""
        if not audio:
            text, self.state.next_prompt_prefix = self.state.next_prompt_prefix + text, ""
        prompt_id = self._next_id("p")
        self.state.prompts = {**self.state.prompts, prompt_id: Prompt(barge_in, owner=owner)}
        spoken = actions.Speak(prompt_id, text, voice or self.voice, barge_in, audio, sensitive)
        self.actions.append(spoken)

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
        """Play a template's text. False if it came out blank, so that there is nothing to hear."""
        text = prefix + self.render_text(template, extra)
        if not (self.state.next_prompt_prefix + text).strip():
            return False
        self.speak(text, barge_in=barge_in, voice=voice, sensitive=sensitive or self.reads_sensitive(template))
        return True

    def stop_speaking(self) -> None:
        """Stop whatever may be interrupted."""
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
        """Recognise the next utterance, or the one under way if it has not been answered yet."""
        self.stop_listening()
        self.state.recognition_id = self._next_id("l")
        fresh = self.state.caller_speaking and self.state.utterance_consumed
        voice, wanted = self.voice, self.state.recognition_id
        heard = actions.Listen(
            wanted, phrases, voice.language, phrases_repeat, silence_seconds, fresh, sensitive, voice.tier
        )
        self.actions.append(heard)

    def stop_listening(self) -> None:
        """Nothing more is wanted of the recogniser."""
        if self.state.recognition_id:
            self.actions.append(actions.StopListening(self.state.recognition_id))
            self.state.recognition_id = ""

    def consume_utterance(self) -> None:
        """What the caller is saying has been taken: its tail neither interrupts nor answers anything."""
        self.state.utterance_consumed = self.state.caller_speaking

    def start_timer(self, name: str, seconds: float, owner: Owner = "node") -> None:
        """Start (again) the timer of that name."""
        self.cancel_timer(name)
        timer_id = self._next_id("t")
        self.state.timers = {**self.state.timers, timer_id: Timer(name, owner)}
        self.actions.append(actions.StartTimer(timer_id, seconds))

    def cancel_timer(self, name: str) -> None:
        """Forget the timer of that name, if it runs."""
        for timer_id in [key for key, timer in self.state.timers.items() if timer.name == name]:
            self.state.timers = {key: timer for key, timer in self.state.timers.items() if key != timer_id}
            self.actions.append(actions.CancelTimer(timer_id))

    def consume_keys(self, count: int | None = None) -> str:
        """The keys pressed since they were last taken, oldest first; at most ``count`` of them."""
        held = self.state.private.buffered_keys
        keys, rest = (held, "") if count is None else (held[:count], held[count:])
        self.state.private.buffered_keys = rest
        return keys

    def buffer_key(self, key: str) -> None:
        """Remember a key until a node asks. Past the bound the newest is dropped."""
        self.state.private.buffered_keys = (self.state.private.buffered_keys + key)[:MAX_BUFFERED_KEYS]

    def set_echo(self, enabled: bool) -> None:
        """Send the caller's audio back, or stop it."""
        if enabled != self.state.echoing:
            self.state.echoing = enabled
            self.actions.append(actions.Echo(enabled))

    def start_transfer(self, **parameters: Any) -> None:
        """Connect the caller to somebody."""
        self.state.pending_id = self._next_id("x")
        self.actions.append(actions.Transfer(self.state.pending_id, **parameters))

    def enqueue_caller(self, **parameters: Any) -> None:
        """Let the caller wait for a department."""
        self.state.pending_id = self._next_id("q")
        self.actions.append(actions.Queue(self.state.pending_id, **parameters))

    def send_request(self, **parameters: Any) -> None:
        """Send an HTTP request."""
        self.state.pending_id = self._next_id("h")
        self.actions.append(actions.Request(self.state.pending_id, self.visit_key(), **parameters))

    def start_recording(self, **parameters: Any) -> None:
        """Record the caller."""
        self.state.pending_id = self._next_id(_RECORDING_ID_PREFIX)
        self.actions.append(actions.Record(self.state.pending_id, **parameters))

    def stop_recording(self) -> None:
        """The recording is complete; its end is still waited for."""
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
        """End the call, once ``text`` has been heard."""
        self.state.pending_hang_up = actions.HangUp(outcome, disposition)
        if text:
            self.speak(text, barge_in=False, owner="session", sensitive=sensitive)

    def cancel_pending(self, owner: Owner | None = None) -> None:
        """Give up what is under way: prompts, listening, timers, echo; only the node's own if ``owner`` is "node"."""
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
        """What was under way is gone with its stream: nothing of it needs to be stopped."""
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


class TakeExit(msgspec.Struct, frozen=True):
    """By an exit. Where it leads nowhere the call ends, after a ``goodbye``."""

    exit_name: str
    say_goodbye: bool = True


class CallSubflow(msgspec.Struct, frozen=True):
    """Into another flow's version, known to this one as ``reference``; ``private`` inputs hold sensitive values."""

    reference: str
    inputs: dict[str, Any]
    sensitive_inputs: dict[str, Any]


class ReturnFromFlow(msgspec.Struct, frozen=True):
    """Out of this flow, by its end of that name."""

    end_name: str


class JumpToNode(msgspec.Struct, frozen=True):
    """To a node of the flow at ``depth`` (0 is the call's own), giving up those within."""

    depth: int
    node: str


Transition = TakeExit | CallSubflow | ReturnFromFlow | JumpToNode
