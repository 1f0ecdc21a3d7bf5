"""What a node does to the call it is part of: the verbs.

A node never touches the outside: each verb changes the state and appends an action. What is under way is
known by ids, so that whatever comes back late is recognised as stale.
"""

from collections.abc import Mapping
from hashlib import sha256
from typing import Any, Literal, TypeVar

import msgspec

from vocelio.engine import actions
from vocelio.engine.runtime.state import Owner, Prompt, State, Timer
from vocelio.engine.runtime.template_scope import Reading
from vocelio.engine.runtime.transitions import Enter, Finish, Jump, Leave, Move
from vocelio.engine.templating.template import Template, Value
from vocelio.engine.variables import MAX_VARIABLES, fitting
from vocelio.engine.voice import Voice

M = TypeVar("M", bound=msgspec.Struct)

MAX_KEYS_AHEAD = 32  # typed before anything asks; longer than any menu path or account number
_RECORDING = "r"


class Wish(msgspec.Struct, frozen=True):
    """What a caller may say or press at any question, and the node of the flow at ``depth`` where it leads.

    ``go`` is "@repeat" to hear the question again.
    """

    phrases: tuple[str, ...]
    key: str
    go: str
    depth: int


class Run(Reading):
    """The run of a flow, as its nodes see it. ``wishes`` are those of the flow and of the flows around it."""

    def __init__(self, state: State, voice: Voice) -> None:
        super().__init__(state)
        self.move: Move | None = None
        self.wishes: Mapping[str, Wish] = {}
        self._voice = voice

    # What the node remembers and knows

    def memory(self, kind: type[M]) -> M:
        """The node's own memory in this visit; made anew with its defaults on first use."""
        held = self.state.private.memory
        if not isinstance(held, kind):
            held = kind() if held is None else msgspec.convert(held, kind)
            self.state.private.memory = held
        return held

    @property
    def caller_is_speaking(self) -> bool:
        """True while the caller says something that has not been taken as an answer yet."""
        return self.state.speech and not self.state.answered

    @property
    def speaking(self) -> bool:
        """True while a prompt of this node is being played."""
        return any(prompt.owner == "node" for prompt in self.state.speaking.values())

    @property
    def voice(self) -> Voice:
        """The voice in which the flow speaks at present."""
        return self.state.voice or self._voice

    def visit_key(self) -> str:
        """A key that no other visit of any node has, the same whenever this visit is lived through."""
        state = self.state
        return sha256(f"{state.facts.call}/{state.visits}/{state.node}".encode()).hexdigest()[:32]

    # What the node does

    def set(self, name: str, value: Any, *, sensitive: bool = False) -> None:
        """Set one of the flow's variables; a sensitive one is kept apart. What is too large becomes None, noted."""
        state = self.state
        try:
            value = fitting(value)
        except ValueError as error:
            self.problem(f"the value for `{name}` {error}")
            value = None
        variables = {key: held for key, held in state.variables.items() if key != name}
        secrets = {key: held for key, held in state.secrets.items() if key != name}
        if len(variables) + len(secrets) >= MAX_VARIABLES:
            self.problem(f"a flow has at most {MAX_VARIABLES} variables")
        else:
            (secrets if sensitive else variables)[name] = value
        state.variables = variables
        self._keep_secrets(secrets)

    def _keep_secrets(self, secrets: dict[str, Any]) -> None:
        state = self.state
        levels = [*state.private.variables, *({} for _ in range(len(state.stack) + 1))][: len(state.stack) + 1]
        levels[-1] = secrets
        state.private.variables = levels if any(levels) else []

    def result(self, **values: Any) -> None:
        """What later templates read as ``{{ this_node.value }}``."""
        self.state.results = {**self.state.results, self.state.node: values}

    def leave(self, exit_name: str, *, goodbye: bool = True) -> None:
        """Leave by that exit. Where it leads nowhere the call ends, after a ``goodbye``."""
        self.move = Leave(exit_name, goodbye)

    def enter_flow(self, reference: str, inputs: Mapping[str, Value]) -> None:
        """Go on in another flow, whose variables begin with these ``inputs``."""
        values = {name: self.value(value) for name, value in inputs.items()}
        private = {name: values.pop(name) for name, value in inputs.items() if self.confidential(value)}
        self.move = Enter(reference, values, private)

    def finish(self, name: str) -> None:
        """Leave this flow by its end of that name."""
        self.move = Finish(name)

    def jump(self, wish: Wish) -> None:
        """Go where the caller wished to."""
        self.move = Jump(wish.depth, wish.go)

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
            text, self.state.preface = self.state.preface + text, ""
        prompt_id = self._id("p")
        self.state.speaking = {**self.state.speaking, prompt_id: Prompt(barge_in, owner=owner)}
        spoken = actions.Speak(prompt_id, text, voice or self.voice, barge_in, audio, sensitive)
        self.actions.append(spoken)

    def say(
        self,
        template: Template,
        *,
        before: str = "",
        extra: Mapping[str, Any] | None = None,
        barge_in: bool = True,
        voice: Voice | None = None,
        sensitive: bool = False,
    ) -> bool:
        """Play a template's text. False if it came out blank, so that there is nothing to hear."""
        text = before + self.text(template, extra)
        if not (self.state.preface + text).strip():
            return False
        self.speak(text, barge_in=barge_in, voice=voice, sensitive=sensitive or self.confidential(template))
        return True

    def stop_speaking(self) -> None:
        """Stop whatever may be interrupted."""
        for prompt_id, prompt in self.state.speaking.items():
            if prompt.barge_in:
                self._stop(prompt_id, prompt)

    def listen(
        self, phrases: tuple[str, ...], *, repeat: bool = False, silence: float = 0.6, sensitive: bool = False
    ) -> None:
        """Recognise the next utterance, or the one under way if it has not been answered yet."""
        self.stop_listening()
        self.state.listening = self._id("l")
        fresh = self.state.speech and self.state.answered
        voice, wanted = self.voice, self.state.listening
        heard = actions.Listen(wanted, phrases, voice.language, repeat, silence, fresh, sensitive, voice.tier)
        self.actions.append(heard)

    def stop_listening(self) -> None:
        """Nothing more is wanted of the recogniser."""
        if self.state.listening:
            self.actions.append(actions.StopListening(self.state.listening))
            self.state.listening = ""

    def take_utterance(self) -> None:
        """What the caller is saying has been taken: its tail neither interrupts nor answers anything."""
        self.state.answered = self.state.speech

    def start_timer(self, name: str, seconds: float, owner: Owner = "node") -> None:
        """Start (again) the timer of that name."""
        self.cancel_timer(name)
        timer_id = self._id("t")
        self.state.timers = {**self.state.timers, timer_id: Timer(name, owner)}
        self.actions.append(actions.StartTimer(timer_id, seconds))

    def cancel_timer(self, name: str) -> None:
        """Forget the timer of that name, if it runs."""
        for timer_id in [key for key, timer in self.state.timers.items() if timer.name == name]:
            self.state.timers = {key: timer for key, timer in self.state.timers.items() if key != timer_id}
            self.actions.append(actions.CancelTimer(timer_id))

    def take_keys(self, count: int | None = None) -> str:
        """The keys pressed since they were last taken, oldest first; at most ``count`` of them."""
        held = self.state.private.keys
        keys, rest = (held, "") if count is None else (held[:count], held[count:])
        self.state.private.keys = rest
        return keys

    def keep_key(self, key: str) -> None:
        """Remember a key until a node asks. Past the bound the newest is dropped."""
        self.state.private.keys = (self.state.private.keys + key)[:MAX_KEYS_AHEAD]

    def echo(self, on: bool) -> None:
        """Send the caller's audio back, or stop it."""
        if on != self.state.echoing:
            self.state.echoing = on
            self.actions.append(actions.Echo(on))

    def transfer(self, **wanted: Any) -> None:
        """Connect the caller to somebody."""
        self.state.pending = self._id("x")
        self.actions.append(actions.Transfer(self.state.pending, **wanted))

    def queue(self, **wanted: Any) -> None:
        """Let the caller wait for a department."""
        self.state.pending = self._id("q")
        self.actions.append(actions.Queue(self.state.pending, **wanted))

    def request(self, **wanted: Any) -> None:
        """Send an HTTP request."""
        self.state.pending = self._id("h")
        self.actions.append(actions.Request(self.state.pending, self.visit_key(), **wanted))

    def record(self, **wanted: Any) -> None:
        """Record the caller."""
        self.state.pending = self._id(_RECORDING)
        self.actions.append(actions.Record(self.state.pending, **wanted))

    def stop_recording(self) -> None:
        """The recording is complete; its end is still waited for."""
        if self.state.pending.startswith(_RECORDING):
            self.actions.append(actions.StopRecording(self.state.pending))

    def hang_up(
        self,
        text: str = "",
        outcome: Literal["completed", "transferred", "failed"] = "completed",
        disposition: str = "",
        *,
        sensitive: bool = False,
    ) -> None:
        """End the call, once ``text`` has been heard."""
        self.state.closing = actions.HangUp(outcome, disposition)
        if text:
            self.speak(text, barge_in=False, owner="session", sensitive=sensitive)

    def drop_all(self, owner: Owner | None = None) -> None:
        """Give up what is under way: prompts, listening, timers, echo; only the node's own if ``owner`` is "node"."""
        self.stop_listening()
        self.echo(False)
        self.stop_recording()
        self.state.pending = ""
        for timer_id, timer in self.state.timers.items():
            if owner in (None, timer.owner):
                self.actions.append(actions.CancelTimer(timer_id))
        self.state.timers = {k: t for k, t in self.state.timers.items() if owner not in (None, t.owner)}
        for prompt_id, prompt in self.state.speaking.items():
            if owner in (None, prompt.owner):
                self._stop(prompt_id, prompt)
        self.state.speaking = {k: p for k, p in self.state.speaking.items() if owner not in (None, p.owner)}

    def forget_all(self) -> None:
        """What was under way is gone with its stream: nothing of it needs to be stopped."""
        state = self.state
        state.listening = state.pending = state.private.keys = ""
        state.timers, state.speaking = {}, {}
        state.speech = state.answered = state.echoing = state.commanded = False

    def _stop(self, prompt_id: str, prompt: Prompt) -> None:
        if not prompt.stopping:
            prompt.stopping = True
            self.actions.append(actions.StopSpeaking(prompt_id))

    def _id(self, kind: str) -> str:
        self.state.ids += 1
        return f"{kind}{self.state.ids}"
