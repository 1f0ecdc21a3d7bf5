"""A telephone without sound: feeds a session the events that a caller and a carrier would cause.

Each event is fed to a second session as well, made anew from the first one's checkpoint after a round trip through
JSON: in every test, a process that dies between two events makes no difference.
"""

import json
from typing import Any

import msgspec

from vocelio.engine import actions, events
from vocelio.engine.call_info import CallInfo, TenantInfo
from vocelio.engine.flow import EMPTY_CONTEXT, FlowVersion
from vocelio.engine.runtime.state import SessionState
from vocelio.engine.session import FlowSession
from vocelio.engine.validation.loader import ValidationContext, load_flow

CALLER, NUMBER = "+13075550100", "+13072249663"
STARTED_AT = 1_772_548_200_000_000  # Tuesday, 2026-03-03 14:30 UTC


def make_call_info(**more: Any) -> CallInfo:
    given = {
        "call_id": "CA1",
        "caller": CALLER,
        "number": NUMBER,
        "tenant": TenantInfo("acme", "Acme", {"city": "Cody"}),
        "started_at": STARTED_AT,
        "seed": "s",
    }
    return CallInfo(**{**given, **more})


def flow_document(nodes: dict[str, Any], start: str = "", **fields: Any) -> bytes:
    """A document whose first node is the start."""
    document = {"name": "test", "start": start or next(iter(nodes)), "nodes": nodes, **fields}
    return json.dumps(document).encode()


class SessionDriver:
    """One call. ``spoken`` is everything said, ``notes`` everything told to monitors."""

    def __init__(
        self,
        nodes: dict[str, Any] | FlowVersion,
        *,
        context: ValidationContext = EMPTY_CONTEXT,
        call_info: CallInfo | None = None,
        **fields: Any,
    ) -> None:
        self.version = nodes if isinstance(nodes, FlowVersion) else load_flow(flow_document(nodes, **fields), context)
        self.session = FlowSession(self.version, call_info or make_call_info())
        self.now = 0.0
        self.last_actions: list[actions.AnyAction] = []
        self.all_actions: list[actions.AnyAction] = []
        self.checkpoint_sizes: list[int] = []
        self.feed(events.CallStarted(0.0))

    def feed(self, event: events.AnyEvent) -> list[actions.AnyAction]:
        saved = msgspec.json.encode(self.session.checkpoint())
        self.checkpoint_sizes.append(len(saved))
        twin = FlowSession.resume(self.version, msgspec.json.decode(saved))
        self.session.receive(event)
        self.last_actions = self.session.actions()
        twin.receive(event)
        assert twin.actions() == self.last_actions
        assert twin.checkpoint() == self.session.checkpoint()
        self.all_actions += self.last_actions
        return self.last_actions

    # What the caller and the carrier do

    def step(self, kind: type[events.Event], *fields: Any, after: float = 0.1, **named: Any) -> list[actions.AnyAction]:
        self.now += after
        return self.feed(kind(self.now, *fields, **named))

    def finish_prompts(self) -> list[actions.AnyAction]:
        """Everything being said has been heard to its end."""
        done: list[actions.AnyAction] = []
        for prompt, held in list(self.state.prompts.items()):
            kind = events.PromptInterrupted if held.stopping else events.PromptFinished
            done += self.step(kind, prompt)
        return done

    def press_keys(self, keys: str) -> list[actions.AnyAction]:
        return [action for key in keys for action in self.step(events.KeyPressed, key)]

    def say(self, text: str) -> list[actions.AnyAction]:
        """A whole utterance: over the prompt, if there is one."""
        done = self.start_speech()
        done += self.step(events.TranscriptReceived, self.state.recognition_id, text, True)
        return done + self.step(events.SpeechEnded)

    def start_speech(self) -> list[actions.AnyAction]:
        done = list(self.step(events.SpeechStarted))
        return done + self.interrupt_prompts()

    def interrupt_prompts(self) -> list[actions.AnyAction]:
        """Prompts that were asked to stop have stopped."""
        done: list[actions.AnyAction] = []
        for prompt in [name for name, held in self.state.prompts.items() if held.stopping]:
            done += self.step(events.PromptInterrupted, prompt, 0.5)
        return done

    def say_partial(self, text: str) -> list[actions.AnyAction]:
        return self.step(events.TranscriptReceived, self.state.recognition_id, text, False)

    def fire_timer(self, name: str) -> list[actions.AnyAction]:
        """The timer of that name runs out."""
        (timer,) = (key for key, timer in self.state.timers.items() if timer.name == name)
        return self.step(events.TimerFired, timer)

    def http_response(self, status: int = 200, body: Any = None, how: str = "ok") -> list[actions.AnyAction]:
        return self.step(events.RequestEnded, self.state.pending_id, how, status, body)

    def end_transfer(self, how: str) -> list[actions.AnyAction]:
        return self.step(events.TransferEnded, self.state.pending_id, how, 3.0)

    # What can be seen

    @property
    def state(self) -> SessionState:
        return self.session._state

    @property
    def timers(self) -> list[str]:
        return [timer.name for timer in self.state.timers.values()]

    @property
    def spoken_texts(self) -> list[str]:
        return [action.text for action in self.all_actions if isinstance(action, actions.Speak)]

    @property
    def emitted_events(self) -> list[actions.EmitEvent]:
        return [action for action in self.all_actions if isinstance(action, actions.EmitEvent)]

    @property
    def flow_problems(self) -> list[str]:
        return [note.data["error"] for note in self.emitted_events if note.type == "flow.problem"]

    @property
    def exits_taken(self) -> list[tuple[str, str]]:
        """The way so far: nodes and the exits taken."""
        return [(note.data["node"], note.data["exit"]) for note in self.emitted_events if note.type == "node.left"]

    def only_action(self, kind: type[Any]) -> Any:
        """The only action of that kind in the last step."""
        (found,) = (action for action in self.last_actions if isinstance(action, kind))
        return found

    def has_action(self, kind: type[Any]) -> bool:
        return any(isinstance(action, kind) for action in self.last_actions)
