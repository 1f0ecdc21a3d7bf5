"""A virtual telephone: the session's shell in virtual time, with assumed lengths for what people hear and say.

Prompts are played one after another, timers fire in the order of their instants, and whatever the flow asks of the
world waits until somebody says how it ended. Nothing passes by itself: ``advance`` lets one thing happen that needs
no caller.
"""

from collections import deque
from collections.abc import Mapping
from typing import Any

from vocelio.engine import actions, events
from vocelio.engine.call_info import CallFacts
from vocelio.engine.call_log.exchange import Exchange, step
from vocelio.engine.errors import EngineError
from vocelio.engine.flow import FlowVersion
from vocelio.engine.scenario.steps import OutsideStep
from vocelio.engine.scenario.stubs import Outside, ended, fits, lasts
from vocelio.engine.session import Session

CHARACTERS_A_SECOND = 15.0  # of speech, spoken or played, at normal speed
SHORTEST_SPEECH = 0.4  # seconds
SOUND_SECONDS = 3.0  # of a stored sound, whose length the flow does not know
KEY_SECONDS = 0.2  # from one key to the next
MAX_EVENTS = 5_000  # an hour of sentences of three seconds has half as many
ASKS = "collect"  # the node type that waits for the caller


class Restless(EngineError):
    """The flow never comes to rest: it did more than MAX_EVENTS things."""


class Phone:
    """One call. ``said`` is what the flow said since the caller last did something; ``turn`` is when that was."""

    def __init__(self, version: FlowVersion, facts: CallFacts, outside: Mapping[str, OutsideStep]) -> None:
        self.session = Session(version, facts)
        self.now = self.turn = 0.0
        self.exchanges: list[Exchange] = []
        self.said: list[str] = []
        self.node = self.type = ""
        self.listening: actions.Listen | None = None
        self.pending: Outside | None = None
        self._outside = outside
        self._prompts: deque[tuple[str, float]] = deque()
        self._playing_since = self._pending_since = 0.0
        self._timers: dict[str, float] = {}
        self._utterance = self._unheard = False
        self._soon: deque[events.AnyEvent] = deque()
        self.feed(events.CallStarted(0.0))

    # Events in, actions out

    def feed(self, event: events.AnyEvent) -> None:
        """Something happens now, and what follows from it at once."""
        self._soon.append(event)
        while self._soon and not self.session.ended:
            if len(self.exchanges) >= MAX_EVENTS:
                raise Restless(f"the flow did not come to rest in {MAX_EVENTS:,} events")
            exchange = step(self.session, self._soon.popleft())
            self.exchanges.append(exchange)
            for action in exchange.actions:
                self._carry_out(action)
        self._soon.clear()

    def _carry_out(self, action: actions.AnyAction) -> None:
        match action:
            case actions.Speak():
                self._speak(action)
            case actions.StopSpeaking(id=known):
                self._stop(known)
            case actions.Listen():
                self.listening = action
                self._unheard = action.fresh and self._utterance
            case actions.StopListening():
                self.listening = None
            case actions.StartTimer(id=known, seconds=seconds):
                self._timers[known] = self.now + seconds
            case actions.CancelTimer(id=known):
                self._timers.pop(known, None)
            case actions.Transfer() | actions.Queue() | actions.Request() | actions.Record():
                self.pending, self._pending_since = action, self.now
            case actions.StopRecording(id=known):
                self._soon.append(events.RecordingEnded(self.now, known, self.now - self._pending_since))
            case actions.Note(type="node.entered", data=data):
                self._entered(data)
            case _:
                pass

    def _entered(self, data: Mapping[str, Any]) -> None:
        self.node, self.type = str(data["node"]), str(data["type"])
        self.pending = None

    def _speak(self, action: actions.Speak) -> None:
        self.said.append(action.text)
        length = spoken_seconds(action.text) / action.voice.speed if action.text else SOUND_SECONDS
        if not self._prompts:
            self._playing_since = self.now
        self._prompts.append((action.id, length))

    def _stop(self, prompt_id: str) -> None:
        heard = self.now - self._playing_since if self._prompts and self._prompts[0][0] == prompt_id else 0.0
        if heard:
            self._playing_since = self.now
        self._prompts = deque(prompt for prompt in self._prompts if prompt[0] != prompt_id)
        self._soon.append(events.PromptInterrupted(self.now, prompt_id, heard))

    # Time

    @property
    def playing(self) -> bool:
        """Whether the caller hears a prompt now."""
        return bool(self._prompts)

    @property
    def playing_for(self) -> float:
        """Seconds that the prompt has been played for."""
        return self.now - self._playing_since

    @property
    def asking(self) -> bool:
        """Whether the flow is at a node that waits for the caller."""
        return self.type == ASKS and not self.session.ended

    def variables(self) -> dict[str, Any]:
        """The flow's variables as they are now."""
        state = self.session.checkpoint()
        private = state.get("private", {}).get("variables", [])
        depth = len(state.get("stack", []))
        secrets = private[depth] if depth < len(private) else {}
        return {**state.get("variables", {}), **secrets}

    def advance(self) -> bool:
        """Let the next thing happen that needs no caller. False when the flow waits for somebody, or has ended."""
        if self.session.ended:
            return False
        if not self._prompts:
            if self.pending:
                return self._answered()
            if self.asking:
                return False
        return self.fire()

    def fire(self) -> bool:
        """Let time pass until the next prompt ends or the next timer runs out. False when there is none."""
        return self._fire(float("inf"))

    def sleep(self, seconds: float) -> None:
        """Let so much time pass, with all that it brings."""
        until = self.now + seconds
        while not self.session.ended and self._fire(until):
            pass
        self.now = max(self.now, until)

    def _fire(self, until: float) -> bool:
        timer = min(self._timers, key=self._timers.__getitem__, default=None)
        prompt_ends = self._playing_since + self._prompts[0][1] if self._prompts else float("inf")
        timer_ends = self._timers[timer] if timer else float("inf")
        at = min(prompt_ends, timer_ends)
        if at > until or at == float("inf"):
            return False
        self.now = max(self.now, at)
        if timer and timer_ends < prompt_ends:
            del self._timers[timer]
            self.feed(events.TimerFired(self.now, timer))
        else:
            prompt_id, _ = self._prompts.popleft()
            self._playing_since = self.now
            self.feed(events.PromptFinished(self.now, prompt_id))
        return True

    # The caller

    def says(self, text: str, partial: tuple[str, ...] = (), confidence: float = 1.0) -> None:
        """An utterance; empty is one that nobody understands."""
        self.said.clear()
        self._utterance, self._unheard = True, False
        self.feed(events.SpeechStarted(self.now))
        each = spoken_seconds(text) / (len(partial) + 1)
        for words in partial:
            self.sleep(each)
            self._heard(words, final=False, confidence=confidence)
        self.sleep(each)
        self.feed(events.SpeechEnded(self.now))
        self._utterance = False
        if self.listening and not self._unheard:
            self.sleep(self.listening.silence)
        self._heard(text, final=True, confidence=confidence)

    def _heard(self, text: str, *, final: bool, confidence: float) -> None:
        if self.listening and not self._unheard:
            listening = self.listening.id
            self.listening = None if final else self.listening
            self.feed(events.Heard(self.now, listening, text, final, confidence))

    def presses(self, keys: str) -> None:
        """Keys, one after another."""
        self.said.clear()
        for place, key in enumerate(keys):
            if place:
                self.sleep(KEY_SECONDS)
            self.feed(events.KeyPressed(self.now, key))

    def reconnects(self) -> None:
        """The stream is lost, with all that was under way, and a new one goes on."""
        self.said.clear()
        self._prompts.clear()
        self._timers.clear()
        self.listening = self.pending = None
        self.feed(events.CallResumed(self.now))

    # The world outside

    def ends(self, how: OutsideStep) -> None:
        """What is done elsewhere ends so; ``pending`` must be of that kind."""
        pending, self.pending = self.pending, None
        if pending is not None:
            self.sleep(lasts(how))
            self.feed(ended(how, self.now, pending.id))

    def _answered(self) -> bool:
        how = self._outside.get(self.node)
        if how is None or self.pending is None or not fits(how, self.pending):
            return False
        self.ends(how)
        return True


def spoken_seconds(text: str) -> float:
    """How long a text is assumed to take."""
    return max(SHORTEST_SPEECH, len(text) / CHARACTERS_A_SECOND)
