"""Virtual phone: a host of the flow session in virtual time, with assumed durations of speech.

Prompts play one after another, timers fire in order, and external operations (transfers, queues, requests, recordings)
stay pending until a result is given. Time never passes by itself: ``advance`` processes the next event that needs no
caller.
"""

from collections import deque
from collections.abc import Mapping
from typing import Any

from vocelio.engine import actions, events
from vocelio.engine.call_info import CallInfo
from vocelio.engine.call_log import Exchange, step
from vocelio.engine.errors import EngineError
from vocelio.engine.flow import FlowVersion
from vocelio.engine.scenario.steps import ExternalStep, HttpReply, QueueStep, RecordingStep, ReplyStep, TransferStep
from vocelio.engine.session import FlowSession

CHARACTERS_PER_SECOND = 15.0  # of speech at normal speed, of both sides
MIN_SPEECH_SECONDS = 0.4
ASSUMED_SOUND_SECONDS = 3.0  # of a stored sound, whose length is not in the flow
KEY_INTERVAL_SECONDS = 0.2  # between two keys
MAX_EVENTS = 5_000  # an hour of prompts of three seconds has half as many
QUESTION_NODE_TYPE = "collect"  # the only node type that waits for the caller


class RunawayFlow(EngineError):
    """The call had more than MAX_EVENTS events without becoming idle."""


class VirtualPhone:
    """One call. ``spoken_texts`` are the prompts since the caller's last turn, which began at ``turn_started``."""

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
        """Feed an event and execute the resulting actions, including those of events that follow immediately."""
        self._event_queue.append(event)
        while self._event_queue and not self.session.ended:
            if len(self.exchanges) >= MAX_EVENTS:
                raise RunawayFlow(f"the flow did not become idle within {MAX_EVENTS:,} events")
            exchange = step(self.session, self._event_queue.popleft())
            self.exchanges.append(exchange)
            for action in exchange.actions:
                self._execute(action)
        self._event_queue.clear()

    def _execute(self, action: actions.AnyAction) -> None:
        match action:
            case actions.Speak():
                self._start_prompt(action)
            case actions.StopSpeaking(id=prompt_id):
                self._stop_prompt(prompt_id)
            case actions.Listen():
                self.listening = action
                self._utterance_ignored = action.ignore_current_utterance and self._in_utterance
            case actions.StopListening():
                self.listening = None
            case actions.StartTimer(id=timer_id, seconds=seconds):
                self._timers[timer_id] = self.now + seconds
            case actions.CancelTimer(id=timer_id):
                self._timers.pop(timer_id, None)
            case actions.Transfer() | actions.Queue() | actions.Request() | actions.Record():
                self.pending_action, self._pending_since = action, self.now
            case actions.StopRecording(id=action_id):
                self._event_queue.append(events.RecordingEnded(self.now, action_id, self.now - self._pending_since))
            case actions.EmitEvent(type="node.entered", data=data):
                self._on_node_entered(data)
            case _:
                pass

    def _on_node_entered(self, data: Mapping[str, Any]) -> None:
        self.node, self.node_type = str(data["node"]), str(data["type"])
        self.pending_action = None

    def _start_prompt(self, action: actions.Speak) -> None:
        self.spoken_texts.append(action.text)
        seconds = estimate_speech_seconds(action.text) / action.voice.speed if action.text else ASSUMED_SOUND_SECONDS
        if not self._prompts:
            self._playing_since = self.now
        self._prompts.append((action.id, seconds))

    def _stop_prompt(self, prompt_id: str) -> None:
        heard_seconds = self.now - self._playing_since if self._prompts and self._prompts[0][0] == prompt_id else 0.0
        if heard_seconds:
            self._playing_since = self.now
        self._prompts = deque(prompt for prompt in self._prompts if prompt[0] != prompt_id)
        self._event_queue.append(events.PromptInterrupted(self.now, prompt_id, heard_seconds))

    # Time

    @property
    def is_playing(self) -> bool:
        """Whether a prompt is playing."""
        return bool(self._prompts)

    @property
    def playing_seconds(self) -> float:
        """How long the current prompt has been playing."""
        return self.now - self._playing_since

    @property
    def is_asking(self) -> bool:
        """Whether the flow is at a node that waits for the caller."""
        return self.node_type == QUESTION_NODE_TYPE and not self.session.ended

    def variables(self) -> dict[str, Any]:
        """Return the current variables of the flow, including sensitive ones."""
        state = self.session.checkpoint()
        private = state.get("private", {}).get("variables", [])
        depth = len(state.get("stack", []))
        sensitive = private[depth] if depth < len(private) else {}
        return {**state.get("variables", {}), **sensitive}

    def advance(self) -> bool:
        """Process the next event that needs no caller. False if the flow waits for one, or the call has ended."""
        if self.session.ended:
            return False
        if not self._prompts:
            if self.pending_action:
                return self._end_as_configured()
            if self.is_asking:
                return False
        return self.fire_next()

    def fire_next(self) -> bool:
        """Let time pass until the next prompt ends or the next timer fires. False if there is none."""
        return self._fire_before(float("inf"))

    def sleep(self, seconds: float) -> None:
        """Let that much time pass, with every event in it."""
        deadline = self.now + seconds
        while not self.session.ended and self._fire_before(deadline):
            pass
        self.now = max(self.now, deadline)

    def _fire_before(self, deadline: float) -> bool:
        timer = min(self._timers, key=self._timers.__getitem__, default=None)
        prompt_end = self._playing_since + self._prompts[0][1] if self._prompts else float("inf")
        timer_end = self._timers[timer] if timer else float("inf")
        at = min(prompt_end, timer_end)
        if at > deadline or at == float("inf"):
            return False
        self.now = max(self.now, at)
        if timer and timer_end < prompt_end:
            del self._timers[timer]
            self.feed(events.TimerFired(self.now, timer))
        else:
            prompt_id, _ = self._prompts.popleft()
            self._playing_since = self.now
            self.feed(events.PromptFinished(self.now, prompt_id))
        return True

    # The caller

    def say(self, text: str, partial: tuple[str, ...] = (), confidence: float = 1.0) -> None:
        """Speak an utterance; an empty text is unintelligible speech."""
        self.spoken_texts.clear()
        self._in_utterance, self._utterance_ignored = True, False
        self.feed(events.SpeechStarted(self.now))
        interval = estimate_speech_seconds(text) / (len(partial) + 1)
        for partial_text in partial:
            self.sleep(interval)
            self._emit_transcript(partial_text, final=False, confidence=confidence)
        self.sleep(interval)
        self.feed(events.SpeechEnded(self.now))
        self._in_utterance = False
        if self.listening and not self._utterance_ignored:
            self.sleep(self.listening.silence_seconds)
        self._emit_transcript(text, final=True, confidence=confidence)

    def _emit_transcript(self, text: str, *, final: bool, confidence: float) -> None:
        if self.listening and not self._utterance_ignored:
            listen_id = self.listening.id
            self.listening = None if final else self.listening
            self.feed(events.TranscriptReceived(self.now, listen_id, text, final, confidence))

    def press(self, keys: str) -> None:
        """Press keys, one after another."""
        self.spoken_texts.clear()
        for index, key in enumerate(keys):
            if index:
                self.sleep(KEY_INTERVAL_SECONDS)
            self.feed(events.KeyPressed(self.now, key))

    def reconnect(self) -> None:
        """Lose the stream, with everything pending, and resume on a new one."""
        self.spoken_texts.clear()
        self._prompts.clear()
        self._timers.clear()
        self.listening = self.pending_action = None
        self.feed(events.CallResumed(self.now))

    # External operations

    def end_pending_action(self, external_step: ExternalStep) -> None:
        """End the pending operation with this result, which must be of its kind."""
        pending, self.pending_action = self.pending_action, None
        if pending is not None:
            self.sleep(duration_seconds(external_step))
            self.feed(to_event(external_step, self.now, pending.id))

    def _end_as_configured(self) -> bool:
        result = self._external_steps.get(self.node)
        if result is None or self.pending_action is None or not can_end(result, self.pending_action):
            return False
        self.end_pending_action(result)
        return True


def estimate_speech_seconds(text: str) -> float:
    """Estimate how long it takes to speak a text."""
    return max(MIN_SPEECH_SECONDS, len(text) / CHARACTERS_PER_SECOND)


ExternalAction = actions.Transfer | actions.Queue | actions.Request | actions.Record

STEP_KEY_BY_ACTION: dict[type, str] = {
    actions.Transfer: "transfer",
    actions.Queue: "queue",
    actions.Request: "reply",
    actions.Record: "recording",
}
"""The key of the step with its result."""


def can_end(step: ExternalStep, pending: ExternalAction) -> bool:
    """Whether the step is a result of the pending operation."""
    return step.__struct_fields__[0] == STEP_KEY_BY_ACTION[type(pending)]


def duration_seconds(step: ExternalStep) -> float:
    """Return the seconds until the operation ends."""
    return step.recording.seconds if isinstance(step, RecordingStep) else step.seconds


def to_event(step: ExternalStep, at: float, action_id: str) -> events.AnyEvent:
    """Build the event of a result. Whether an HTTP status is an error is decided by the node."""
    match step:
        case TransferStep():
            return events.TransferEnded(at, action_id, step.transfer, step.seconds)
        case QueueStep():
            return events.QueueEnded(at, action_id, step.queue)
        case RecordingStep(recording=message):
            return events.RecordingEnded(at, action_id, message.seconds, message.url)
        case ReplyStep(reply=HttpReply(status=status, body=body)):
            return events.RequestEnded(at, action_id, "ok", status, body)
        case ReplyStep(reply="timeout"):
            return events.RequestEnded(at, action_id, "timeout")
        case ReplyStep():
            return events.RequestEnded(at, action_id, "error")
