"""What a node sees of the call it is part of, and the verbs by which it acts on it.

A node never touches the outside: each verb changes the state and appends an action. What is under way is
known by ids, so that whatever comes back late is recognised as stale.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, TypeVar

import msgspec

from vocelio.engine import actions
from vocelio.engine.state import Owner, Prompt, State, Timer
from vocelio.engine.templates import Condition, RenderError, Template, Value
from vocelio.engine.voice import Voice

M = TypeVar("M", bound=msgspec.Struct)

RESERVED = ("call", "caller", "tenant", "number", "now", "today")
MAX_KEYS_AHEAD = 32  # typed before anything asks; longer than any menu path or account number
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Run:
    """The run of a flow, as its nodes see it."""

    def __init__(self, state: State, voice: Voice) -> None:
        self.state = state
        self.actions: list[actions.AnyAction] = []
        self.exit: tuple[str, bool] | None = None
        self._voice = voice

    # What the node remembers and knows

    def memory(self, kind: type[M]) -> M:
        """The node's own memory in this visit; made anew with its defaults on first use."""
        held = self.state.memory
        if not isinstance(held, kind):
            held = kind() if held is None else msgspec.convert(held, kind)
            self.state.memory = held
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
    def now(self) -> datetime:
        """The instant of the event being handled, UTC."""
        return EPOCH + timedelta(microseconds=self.state.facts.started + round(self.state.at * 1e6))

    def scope(self) -> Mapping[str, Any]:
        """The names that templates and conditions can read."""
        facts = self.state.facts
        return {
            **self.state.results,
            **self.state.variables,
            "call": {"id": facts.call, "seconds": round(self.state.at)},
            "caller": {"number": facts.caller},
            "tenant": {"id": facts.tenant.id, "name": facts.tenant.name, **facts.tenant.variables},
            "number": facts.number,
            "now": self.now,
            "today": self.now.date(),
        }

    def text(self, template: Template) -> str:
        """The rendered text; empty, and noted, when its values do not allow it."""
        if template.static:
            return template.source
        try:
            return template.render(self.scope())
        except RenderError as error:
            self.problem(str(error))
            return ""

    def value(self, template: Template | Value) -> Any:
        """The rendered value, of its own type; None, and noted, when it cannot be had."""
        try:
            return template.value(self.scope())
        except RenderError as error:
            self.problem(str(error))
            return None

    def holds(self, condition: Condition) -> bool:
        """Whether the condition is true; false, and noted, when it cannot be told."""
        try:
            return condition.holds(self.scope())
        except RenderError as error:
            self.problem(str(error))
            return False

    # What the node does

    def set(self, name: str, value: Any) -> None:
        """Set one of the flow's variables."""
        self.state.variables = {**self.state.variables, name: value}

    def result(self, **values: Any) -> None:
        """What later templates read as ``{{ this_node.value }}``."""
        self.state.results = {**self.state.results, self.state.node: values}

    def leave(self, exit_name: str, *, goodbye: bool = True) -> None:
        """Leave by that exit. Where it leads nowhere the call ends, after a ``goodbye``."""
        self.exit = (exit_name, goodbye)

    def note(self, kind: str, **data: Any) -> None:
        """Something for monitors and the timeline."""
        self.actions.append(actions.Note(kind, data))

    def problem(self, text: str) -> None:
        """Something that the flow's author should mend."""
        self.note("flow.problem", node=self.state.node, problem=text)

    def speak(
        self,
        text: str,
        *,
        barge_in: bool = True,
        voice: Voice | None = None,
        audio: str = "",
        owner: Owner = "node",
    ) -> None:
        """Play a prompt."""
        text, self.state.preface = self.state.preface + text, ""
        prompt_id = self._id("p")
        self.state.speaking = {**self.state.speaking, prompt_id: Prompt(barge_in, owner=owner)}
        chosen = voice or self.state.voice or self._voice
        self.actions.append(actions.Speak(prompt_id, text, chosen, barge_in, audio))

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
        language = (self.state.voice or self._voice).language
        fresh = self.state.speech and self.state.answered
        self.actions.append(actions.Listen(self.state.listening, phrases, language, repeat, silence, fresh, sensitive))

    def stop_listening(self) -> None:
        """Nothing more is wanted of the recogniser."""
        if self.state.listening:
            self.actions.append(actions.StopListening(self.state.listening))
            self.state.listening = ""

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
        keys, rest = (self.state.keys, "") if count is None else (self.state.keys[:count], self.state.keys[count:])
        self.state.keys = rest
        return keys

    def keep_key(self, key: str) -> None:
        """Remember a key until a node asks. Past the bound the newest is dropped."""
        self.state.keys = (self.state.keys + key)[:MAX_KEYS_AHEAD]

    def echo(self, on: bool) -> None:
        """Send the caller's audio back, or stop it."""
        if on != self.state.echoing:
            self.state.echoing = on
            self.actions.append(actions.Echo(on))

    def transfer(self, **wanted: Any) -> None:
        """Connect the caller to somebody."""
        self.state.pending = self._id("x")
        self.actions.append(actions.Transfer(self.state.pending, **wanted))

    def hang_up(
        self,
        text: str = "",
        outcome: Literal["completed", "transferred", "failed"] = "completed",
        disposition: str = "",
    ) -> None:
        """End the call, once ``text`` has been heard."""
        self.state.closing = actions.HangUp(outcome, disposition)
        if text:
            self.speak(text, barge_in=False, owner="session")

    def drop_all(self, owner: Owner | None = None) -> None:
        """Give up what is under way: prompts, listening, timers, echo; only the node's own if ``owner`` is "node"."""
        self.stop_listening()
        self.echo(False)
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
        state.listening = state.pending = state.keys = ""
        state.timers, state.speaking = {}, {}
        state.speech = state.answered = state.echoing = False

    def _stop(self, prompt_id: str, prompt: Prompt) -> None:
        if not prompt.stopping:
            prompt.stopping = True
            self.actions.append(actions.StopSpeaking(prompt_id))

    def _id(self, kind: str) -> str:
        self.state.ids += 1
        return f"{kind}{self.state.ids}"
