"""SessionDriver: feeds a flow session the events that a caller and Twilio would cause, without audio.

Each event is also fed to a second session, restored from the first one's checkpoint after a round trip through JSON. So
every test also shows that a process crash between two events makes no difference.
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
    defaults = {
        "call_id": "CA1",
        "caller": CALLER,
        "number": NUMBER,
        "tenant": TenantInfo("acme", "Acme", {"city": "Cody"}),
        "started_at": STARTED_AT,
        "seed": "s",
    }
    return CallInfo(**{**defaults, **more})


def flow_document(nodes: dict[str, Any], start: str = "", **fields: Any) -> bytes:
    """Encode a document; by default its first node is the start."""
    document = {"name": "test", "start": start or next(iter(nodes)), "nodes": nodes, **fields}
    return json.dumps(document).encode()


class SessionDriver:
    """One call. ``spoken_texts`` are all prompts, ``emitted_events`` all events for monitors."""

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

    # Events of the caller and of Twilio

    def step(self, kind: type[events.Event], *fields: Any, after: float = 0.1, **named: Any) -> list[actions.AnyAction]:
        self.now += after
        return self.feed(kind(self.now, *fields, **named))

    def finish_prompts(self) -> list[actions.AnyAction]:
        """Report the end of all playing prompts."""
        result: list[actions.AnyAction] = []
        for prompt_id, prompt in list(self.state.prompts.items()):
            kind = events.PromptInterrupted if prompt.stopping else events.PromptFinished
            result += self.step(kind, prompt_id)
        return result

    def press_keys(self, keys: str) -> list[actions.AnyAction]:
        return [action for key in keys for action in self.step(events.KeyPressed, key)]

    def say(self, text: str) -> list[actions.AnyAction]:
        """Say an utterance, as barge-in if a prompt is playing."""
        result = self.start_speech()
        result += self.step(events.TranscriptReceived, self.state.recognition_id, text, True)
        return result + self.step(events.SpeechEnded)

    def start_speech(self) -> list[actions.AnyAction]:
        result = list(self.step(events.SpeechStarted))
        return result + self.interrupt_prompts()

    def interrupt_prompts(self) -> list[actions.AnyAction]:
        """Report the interruption of all prompts that the session has stopped."""
        result: list[actions.AnyAction] = []
        for prompt_id in [key for key, prompt in self.state.prompts.items() if prompt.stopping]:
            result += self.step(events.PromptInterrupted, prompt_id, 0.5)
        return result

    def say_partial(self, text: str) -> list[actions.AnyAction]:
        return self.step(events.TranscriptReceived, self.state.recognition_id, text, False)

    def fire_timer(self, name: str) -> list[actions.AnyAction]:
        """Let the timer of that name expire."""
        (timer,) = (key for key, timer in self.state.timers.items() if timer.name == name)
        return self.step(events.TimerFired, timer)

    def http_response(self, status: int = 200, body: Any = None, result: str = "ok") -> list[actions.AnyAction]:
        return self.step(events.RequestEnded, self.state.pending_id, result, status, body)

    def end_transfer(self, result: str) -> list[actions.AnyAction]:
        return self.step(events.TransferEnded, self.state.pending_id, result, 3.0)

    # Observations

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
        return [event.data["error"] for event in self.emitted_events if event.type == "flow.problem"]

    @property
    def exits_taken(self) -> list[tuple[str, str]]:
        """Nodes left so far and the exits taken."""
        return [(event.data["node"], event.data["exit"]) for event in self.emitted_events if event.type == "node.left"]

    def only_action(self, kind: type[Any]) -> Any:
        """Return the only action of that type in the last step."""
        (match,) = (action for action in self.last_actions if isinstance(action, kind))
        return match

    def has_action(self, kind: type[Any]) -> bool:
        return any(isinstance(action, kind) for action in self.last_actions)
