"""The caller's turn-taking, sans-IO: fed each 20 ms that is played, gives the next 20 ms that is said.

Positions are samples on the line's clock. What the caller says in a frame is said before it can be sent, what is
played in the same tick is heard after that: hence the frame between ``_now`` and what is heard.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from vocelio.gateway.simulator.caller.script import HangUp, MakeNoise, PressKeys, RenderedStep, StaySilent, Step
from vocelio.gateway.simulator.events import (
    CallerInterrupted,
    CallerPressedKeys,
    CallerSpeechStarted,
    CallEvent,
    GatewayReplied,
)
from vocelio.gateway.simulator.media.messages import FRAME_SAMPLES, SAMPLE_RATE, SILENT_FRAME
from vocelio.gateway.simulator.media.voice_detection import PlaybackDetector
from vocelio.gateway.simulator.report import Turn, TurnKind

MIN_REPLY_SAMPLES = SAMPLE_RATE // 2
"""Sound that began before the caller had ended is an answer if it goes on for 0.5 s more."""


class CallerFrame(NamedTuple):
    """What the caller does in one frame."""

    audio: bytes = SILENT_FRAME
    key: str = ""
    hangs_up: bool = False


class _OpenTurn:
    """A turn that waits for its answer; ``first`` and ``last`` are where its audible part begins and has ended."""

    def __init__(self, step: RenderedStep, start: int, interrupted: bool) -> None:
        self.text = step.text
        self.kind: TurnKind = _turn_kind(step.source)
        self.voiced_start = start + step.voiced_start
        self.voiced_end = start + step.voiced_end
        self.interrupted = interrupted
        self.prompt_cut_at: int | None = None  # the end of the gateway's speech that this turn cut short


class CallerTurnTaking:
    """One caller's script under way."""

    def __init__(
        self,
        steps: Sequence[RenderedStep],
        endpoint_silence_seconds: float,
        on_event: Callable[[CallEvent], None],
        answered_at: float,
    ) -> None:
        """``answered`` is when the line's clock starts, in seconds since the call was placed: times are told so."""
        self.turns: list[Turn] = []
        self.steps_done = 0
        self._steps = tuple(steps)
        self._endpoint_silence_samples = round(endpoint_silence_seconds * SAMPLE_RATE)
        self._on_event = on_event
        self._answered_at = answered_at
        self._detector = PlaybackDetector()
        self._now = 0
        self._current_step: RenderedStep | None = None
        self._step_start = 0  # of the cue under way
        self._waiting_since = 0
        self._prompt_onset: int | None = None  # since when the gateway has been speaking to the caller in this wait
        self._open_turn: _OpenTurn | None = None

    def tick(self, played: bytes, cleared: bool = False, listening: bool = True) -> CallerFrame:
        """One frame. ``cut`` tells of a ``clear``; not ``listening`` when Twilio or a callee talks with the caller."""
        self._on_playback(played, cleared)
        if not listening:
            self._waiting_since, self._prompt_onset = self._now, None
        if self._current_step is None and listening:
            self._maybe_start_step()
        act = self._next_frame()
        self._now += FRAME_SAMPLES
        return act

    def _on_playback(self, played: bytes, cleared: bool) -> None:
        if cleared:
            self._on_clear()
        if played is not SILENT_FRAME:
            self._detector.on_audio(played, self._now + FRAME_SAMPLES)
        if self._open_turn and self._now >= self._open_turn.voiced_end:
            self._measure_latency(self._open_turn)

    def _on_clear(self) -> None:
        turn = self._open_turn
        if (
            turn
            and turn.prompt_cut_at is None
            and self._detector.is_audible(self._now)
            and self._now >= turn.voiced_start
        ):
            turn.prompt_cut_at = self._detector.last_audible
        self._detector.on_clear()
        self._waiting_since = min(self._waiting_since, self._now)  # what is heard next is for the caller

    def _measure_latency(self, turn: _OpenTurn) -> None:
        onset = self._detector.onset
        if onset < turn.voiced_start or (onset < turn.voiced_end and not self._is_reply(turn)):
            return
        latency = (onset - turn.voiced_end) * 1000 / SAMPLE_RATE
        self._close_turn(latency)
        self._on_event(GatewayReplied(self._to_seconds(onset), latency))

    def _is_reply(self, turn: _OpenTurn) -> bool:
        """Whether a sound that began before the caller had ended is an answer."""
        after_cut = turn.prompt_cut_at is not None and self._detector.onset > turn.prompt_cut_at
        return after_cut or self._detector.last_audible >= turn.voiced_end + MIN_REPLY_SAMPLES

    def _maybe_start_step(self) -> None:
        if self.steps_done == len(self._steps):
            return
        self._track_gateway()
        cue = self._steps[self.steps_done]
        waited = (self._now - self._waiting_since) / SAMPLE_RATE
        if waited >= cue.source.max_wait_seconds or self._is_callers_turn(cue.source.interrupt_after_seconds):
            self._start_step(cue)

    def _track_gateway(self) -> None:
        ear, since = self._detector, self._waiting_since
        if self._prompt_onset is None and ear.onset >= since:
            self._prompt_onset = ear.onset
        elif self._prompt_onset is None and ear.last_audible >= since + MIN_REPLY_SAMPLES:
            self._prompt_onset = since  # it began before the caller's step had ended, and goes on

    def _is_callers_turn(self, interrupt_after_seconds: float | None) -> bool:
        if self._prompt_onset is None:
            return False
        if interrupt_after_seconds is None:
            return self._now - self._detector.last_audible >= self._endpoint_silence_samples
        return self._now - self._prompt_onset >= interrupt_after_seconds * SAMPLE_RATE

    def _start_step(self, step: RenderedStep) -> None:
        self._close_turn(None)
        self._current_step, self._step_start = step, self._now
        interrupts = self._detector.is_audible(self._now) and not isinstance(step.source, StaySilent | HangUp)
        if interrupts:
            self._on_event(CallerInterrupted(self._to_seconds(self._now)))
        if isinstance(step.source, PressKeys):
            self._on_event(CallerPressedKeys(self._to_seconds(self._now), step.text))
        elif step.audio:
            self._on_event(CallerSpeechStarted(self._to_seconds(self._now), step.text))
        if step.audio or step.keys:
            self._open_turn = _OpenTurn(step, self._step_start, interrupts)
        self._waiting_since, self._prompt_onset = self._now + step.voiced_end, None

    def _next_frame(self) -> CallerFrame:
        cue = self._current_step
        if cue is None:
            return _SILENCE
        index = (self._now - self._step_start) // FRAME_SAMPLES
        if index + 1 >= cue.frame_count:
            self._current_step = None
            self.steps_done += 1
        return CallerFrame(cue.audio_frame(index), cue.key_at(index), hangs_up=isinstance(cue.source, HangUp))

    def _close_turn(self, latency_ms: float | None) -> None:
        turn, self._open_turn = self._open_turn, None
        if turn:
            self.turns.append(self._make_turn(turn, latency_ms))

    def _make_turn(self, turn: _OpenTurn, latency_ms: float | None) -> Turn:
        silenced = None if turn.prompt_cut_at is None else (turn.prompt_cut_at - turn.voiced_start) * 1000 / SAMPLE_RATE
        began, ended = self._to_seconds(turn.voiced_start), self._to_seconds(turn.voiced_end)
        return Turn(turn.kind, turn.text, began, ended, latency_ms, turn.interrupted, silenced)

    def finish(self) -> tuple[Turn, ...]:
        """The call is over: the turns, the last one as far as it got."""
        self._close_turn(None)
        return tuple(self.turns)

    def _to_seconds(self, position: int) -> float:
        return self._answered_at + position / SAMPLE_RATE


def _turn_kind(step: Step) -> TurnKind:
    if isinstance(step, PressKeys):
        return "keys"
    return "noise" if isinstance(step, MakeNoise) else "speech"


_SILENCE = CallerFrame()
