"""A virtual telephone: the session's shell in virtual time, with assumed lengths for what people hear and say.

Prompts are played one after another, timers fire in the order of their instants, and whatever the flow asks of the
world waits until somebody says how it ended. Nothing passes by itself: ``advance`` lets one thing happen that needs
no caller.
"""

from collections import deque
from collections.abc import Mapping
from typing import Any

from vocelio.engine import actions, events
from vocelio.engine.call_info import CallInfo
from vocelio.engine.call_log.exchange import Exchange, step
from vocelio.engine.errors import EngineError
from vocelio.engine.flow import FlowVersion
from vocelio.engine.scenario.steps import ExternalStep
from vocelio.engine.scenario.stubs import ExternalAction, can_end, duration_seconds, to_event
from vocelio.engine.session import FlowSession

CHARACTERS_PER_SECOND = 15.0  # of speech, spoken or played, at normal speed
MIN_SPEECH_SECONDS = 0.4  # seconds
ASSUMED_SOUND_SECONDS = 3.0  # of a stored sound, whose length the flow does not know
KEY_INTERVAL_SECONDS = 0.2  # from one key to the next
MAX_EVENTS = 5_000  # an hour of sentences of three seconds has half as many
QUESTION_NODE_TYPE = "collect"  # the node type that waits for the caller


class RunawayFlow(EngineError):
    """The flow never comes to rest: it did more than MAX_EVENTS things."""


class VirtualPhone:
    """One call. ``said`` is what the flow said since the caller last did something; ``turn`` is when that was."""

    def __init__(self, version: FlowVersion, call_info: CallInfo, external_steps: Mapping[str, ExternalStep]) -> None:
        self.session = FlowSession(version, call_info)
        self.now = self.turn_started = 0.0
        self.exchanges: list[Exchange] = []
        self.spoken_texts: list[str] = []
        self.node = self.node_type = ""
        self.listening: actions.Listen | None = None
        self.pending_action: ExternalAction | None = None
        self._external_steps = external_steps
        self._prompts: deque[tuple[str, float]] = deque()
        self._playing_since = self._pending_since = 0.0
        self._timers: dict[str, float] = {}
        self._in_utterance = self._utterance_ignored = False
        self._event_queue: deque[events.AnyEvent] = deque()
        self.feed(events.CallStarted(0.0))

    # Events in, actions out

    def feed(self, event: events.AnyEvent) -> None:
        """Something happens now, and what follows from it at once."""
        self._event_queue.append(event)
        while self._event_queue and not self.session.ended:
            if len(self.exchanges) >= MAX_EVENTS:
                raise RunawayFlow(f"the flow did not come to rest in {MAX_EVENTS:,} events")
            exchange = step(self.session, self._event_queue.popleft())
            self.exchanges.append(exchange)
            for action in exchange.actions:
                self._execute(action)
        self._event_queue.clear()

    def _execute(self, action: actions.AnyAction) -> None:
        match action:
            case actions.Speak():
                self._start_prompt(action)
            case actions.StopSpeaking(id=known):
                self._stop_prompt(known)
            case actions.Listen():
                self.listening = action
                self._utterance_ignored = action.ignore_current_utterance and self._in_utterance
            case actions.StopListening():
                self.listening = None
            case actions.StartTimer(id=known, seconds=seconds):
                self._timers[known] = self.now + seconds
            case actions.CancelTimer(id=known):
                self._timers.pop(known, None)
            case actions.Transfer() | actions.Queue() | actions.Request() | actions.Record():
                self.pending_action, self._pending_since = action, self.now
            case actions.StopRecording(id=known):
                self._event_queue.append(events.RecordingEnded(self.now, known, self.now - self._pending_since))
            case actions.EmitEvent(type="node.entered", data=data):
                self._on_node_entered(data)
            case _:
                pass

    def _on_node_entered(self, data: Mapping[str, Any]) -> None:
        self.node, self.node_type = str(data["node"]), str(data["type"])
        self.pending_action = None

    def _start_prompt(self, action: actions.Speak) -> None:
        self.spoken_texts.append(action.text)
        length = estimate_speech_seconds(action.text) / action.voice.speed if action.text else ASSUMED_SOUND_SECONDS
        if not self._prompts:
            self._playing_since = self.now
        self._prompts.append((action.id, length))

    def _stop_prompt(self, prompt_id: str) -> None:
        heard = self.now - self._playing_since if self._prompts and self._prompts[0][0] == prompt_id else 0.0
        if heard:
            self._playing_since = self.now
        self._prompts = deque(prompt for prompt in self._prompts if prompt[0] != prompt_id)
        self._event_queue.append(events.PromptInterrupted(self.now, prompt_id, heard))

    # Time

    @property
    def is_playing(self) -> bool:
        """Whether the caller hears a prompt now."""
        return bool(self._prompts)

    @property
    def playing_seconds(self) -> float:
        """Seconds that the prompt has been played for."""
        return self.now - self._playing_since

    @property
    def is_asking(self) -> bool:
        """Whether the flow is at a node that waits for the caller."""
        return self.node_type == QUESTION_NODE_TYPE and not self.session.ended

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
            if self.pending_action:
                return self._end_as_configured()
            if self.is_asking:
                return False
        return self.fire_next()

    def fire_next(self) -> bool:
        """Let time pass until the next prompt ends or the next timer runs out. False when there is none."""
        return self._fire_before(float("inf"))

    def sleep(self, seconds: float) -> None:
        """Let so much time pass, with all that it brings."""
        until = self.now + seconds
        while not self.session.ended and self._fire_before(until):
            pass
        self.now = max(self.now, until)

    def _fire_before(self, deadline: float) -> bool:
        timer = min(self._timers, key=self._timers.__getitem__, default=None)
        prompt_ends = self._playing_since + self._prompts[0][1] if self._prompts else float("inf")
        timer_ends = self._timers[timer] if timer else float("inf")
        at = min(prompt_ends, timer_ends)
        if at > deadline or at == float("inf"):
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

    def say(self, text: str, partial: tuple[str, ...] = (), confidence: float = 1.0) -> None:
        """An utterance; empty is one that nobody understands."""
        self.spoken_texts.clear()
        self._in_utterance, self._utterance_ignored = True, False
        self.feed(events.SpeechStarted(self.now))
        each = estimate_speech_seconds(text) / (len(partial) + 1)
        for words in partial:
            self.sleep(each)
            self._emit_transcript(words, final=False, confidence=confidence)
        self.sleep(each)
        self.feed(events.SpeechEnded(self.now))
        self._in_utterance = False
        if self.listening and not self._utterance_ignored:
            self.sleep(self.listening.silence_seconds)
        self._emit_transcript(text, final=True, confidence=confidence)

    def _emit_transcript(self, text: str, *, final: bool, confidence: float) -> None:
        if self.listening and not self._utterance_ignored:
            listening = self.listening.id
            self.listening = None if final else self.listening
            self.feed(events.TranscriptReceived(self.now, listening, text, final, confidence))

    def press(self, keys: str) -> None:
        """Keys, one after another."""
        self.spoken_texts.clear()
        for place, key in enumerate(keys):
            if place:
                self.sleep(KEY_INTERVAL_SECONDS)
            self.feed(events.KeyPressed(self.now, key))

    def reconnect(self) -> None:
        """The stream is lost, with all that was under way, and a new one goes on."""
        self.spoken_texts.clear()
        self._prompts.clear()
        self._timers.clear()
        self.listening = self.pending_action = None
        self.feed(events.CallResumed(self.now))

    # The world outside

    def end_pending_action(self, external_step: ExternalStep) -> None:
        """What is done elsewhere ends so; ``pending`` must be of that kind."""
        pending, self.pending_action = self.pending_action, None
        if pending is not None:
            self.sleep(duration_seconds(external_step))
            self.feed(to_event(external_step, self.now, pending.id))

    def _end_as_configured(self) -> bool:
        how = self._external_steps.get(self.node)
        if how is None or self.pending_action is None or not can_end(how, self.pending_action):
            return False
        self.end_pending_action(how)
        return True


def estimate_speech_seconds(text: str) -> float:
    """How long a text is assumed to take."""
    return max(MIN_SPEECH_SECONDS, len(text) / CHARACTERS_PER_SECOND)
