"""A telephone without sound: feeds a session the events that a caller and a carrier would cause.

Each event is fed to a second session as well, made anew from the first one's checkpoint after a round trip through
JSON: in every test, a process that dies between two events makes no difference.
"""

import json
from typing import Any

import msgspec

from vocelio.engine import actions, events
from vocelio.engine.call_info import CallFacts, TenantFacts
from vocelio.engine.flow import NOTHING_KNOWN, FlowVersion
from vocelio.engine.runtime.state import State
from vocelio.engine.session import Session
from vocelio.engine.validation.loader import Known, load

CALLER, NUMBER = "+13075550100", "+13072249663"
STARTED = 1_772_548_200_000_000  # Tuesday, 2026-03-03 14:30 UTC


def facts(**more: Any) -> CallFacts:
    given = {
        "call": "CA1",
        "caller": CALLER,
        "number": NUMBER,
        "tenant": TenantFacts("acme", "Acme", {"city": "Cody"}),
        "started": STARTED,
        "seed": "s",
    }
    return CallFacts(**{**given, **more})


def flow(nodes: dict[str, Any], start: str = "", **fields: Any) -> bytes:
    """A document whose first node is the start."""
    document = {"name": "test", "start": start or next(iter(nodes)), "nodes": nodes, **fields}
    return json.dumps(document).encode()


class Phone:
    """One call. ``spoken`` is everything said, ``notes`` everything told to monitors."""

    def __init__(
        self,
        nodes: dict[str, Any] | FlowVersion,
        *,
        known: Known = NOTHING_KNOWN,
        call: CallFacts | None = None,
        **fields: Any,
    ) -> None:
        self.version = nodes if isinstance(nodes, FlowVersion) else load(flow(nodes, **fields), known)
        self.session = Session(self.version, call or facts())
        self.at = 0.0
        self.last: list[actions.AnyAction] = []
        self.every: list[actions.AnyAction] = []
        self.sizes: list[int] = []
        self.feed(events.CallStarted(0.0))

    def feed(self, event: events.AnyEvent) -> list[actions.AnyAction]:
        saved = msgspec.json.encode(self.session.checkpoint())
        self.sizes.append(len(saved))
        twin = Session.resume(self.version, msgspec.json.decode(saved))
        self.session.receive(event)
        self.last = self.session.actions()
        twin.receive(event)
        assert twin.actions() == self.last
        assert twin.checkpoint() == self.session.checkpoint()
        self.every += self.last
        return self.last

    # What the caller and the carrier do

    def step(self, kind: type[events.Event], *fields: Any, after: float = 0.1, **named: Any) -> list[actions.AnyAction]:
        self.at += after
        return self.feed(kind(self.at, *fields, **named))

    def played(self) -> list[actions.AnyAction]:
        """Everything being said has been heard to its end."""
        done: list[actions.AnyAction] = []
        for prompt, held in list(self.state.speaking.items()):
            kind = events.PromptInterrupted if held.stopping else events.PromptFinished
            done += self.step(kind, prompt)
        return done

    def press(self, keys: str) -> list[actions.AnyAction]:
        return [action for key in keys for action in self.step(events.KeyPressed, key)]

    def say(self, text: str) -> list[actions.AnyAction]:
        """A whole utterance: over the prompt, if there is one."""
        done = self.begin()
        done += self.step(events.Heard, self.state.listening, text, True)
        return done + self.step(events.SpeechEnded)

    def begin(self) -> list[actions.AnyAction]:
        done = list(self.step(events.SpeechStarted))
        return done + self.stopped()

    def stopped(self) -> list[actions.AnyAction]:
        """Prompts that were asked to stop have stopped."""
        done: list[actions.AnyAction] = []
        for prompt in [name for name, held in self.state.speaking.items() if held.stopping]:
            done += self.step(events.PromptInterrupted, prompt, 0.5)
        return done

    def partly(self, text: str) -> list[actions.AnyAction]:
        return self.step(events.Heard, self.state.listening, text, False)

    def fire(self, name: str) -> list[actions.AnyAction]:
        """The timer of that name runs out."""
        (timer,) = (key for key, timer in self.state.timers.items() if timer.name == name)
        return self.step(events.TimerFired, timer)

    def reply(self, status: int = 200, body: Any = None, how: str = "ok") -> list[actions.AnyAction]:
        return self.step(events.ReplyArrived, self.state.pending, how, status, body)

    def transferred(self, how: str) -> list[actions.AnyAction]:
        return self.step(events.TransferEnded, self.state.pending, how, 3.0)

    # What can be seen

    @property
    def state(self) -> State:
        return self.session._state

    @property
    def timers(self) -> list[str]:
        return [timer.name for timer in self.state.timers.values()]

    @property
    def spoken(self) -> list[str]:
        return [action.text for action in self.every if isinstance(action, actions.Speak)]

    @property
    def notes(self) -> list[actions.Note]:
        return [action for action in self.every if isinstance(action, actions.Note)]

    @property
    def problems(self) -> list[str]:
        return [note.data["problem"] for note in self.notes if note.type == "flow.problem"]

    @property
    def exits(self) -> list[tuple[str, str]]:
        """The way so far: nodes and the exits taken."""
        return [(note.data["node"], note.data["exit"]) for note in self.notes if note.type == "node.left"]

    def one(self, kind: type[Any]) -> Any:
        """The only action of that kind in the last step."""
        (found,) = (action for action in self.last if isinstance(action, kind))
        return found

    def has(self, kind: type[Any]) -> bool:
        return any(isinstance(action, kind) for action in self.last)
