"""Sans-IO turn-taking of the caller: takes each played frame and returns the caller's next frame.

Positions are samples since the call was answered. The caller speaks a frame before it is sent, and hears the frame of
the same tick after that: hence the one frame between ``_now`` and the position of played audio.
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
"""Audio that started before the end of the caller's turn is a reply if it continues for 0.5 s after it."""


class CallerFrame(NamedTuple):
    """The caller's output in one tick."""

    audio: bytes = SILENT_FRAME
    key: str = ""
    hangs_up: bool = False


class _OpenTurn:
    """A turn that waits for the gateway's reply. ``voiced_start`` and ``voiced_end`` are positions."""

    def __init__(self, step: RenderedStep, start: int, interrupted: bool) -> None:
        self.text = step.text
        self.kind: TurnKind = _turn_kind(step.source)
        self.voiced_start = start + step.voiced_start
        self.voiced_end = start + step.voiced_end
        self.interrupted = interrupted
        self.prompt_cut_at: int | None = None  # where this turn ended the gateway's prompt (barge-in)


class CallerTurnTaking:
    """Runs one caller's script."""

    def __init__(
        self,
        steps: Sequence[RenderedStep],
        endpoint_silence_seconds: float,
        on_event: Callable[[CallEvent], None],
        answered_at: float,
    ) -> None:
        """``answered_at`` is the time of position 0, in seconds since the call was placed, as in all events."""
        self.turns: list[Turn] = []
        self.steps_done = 0
        self._steps = tuple(steps)
        self._endpoint_silence_samples = round(endpoint_silence_seconds * SAMPLE_RATE)
        self._on_event = on_event
        self._answered_at = answered_at
        self._detector = PlaybackDetector()
        self._now = 0
        self._current_step: RenderedStep | None = None
        self._step_start = 0  # of the current step
        self._waiting_since = 0
        self._prompt_onset: int | None = None  # start of the gateway's prompt in this wait
        self._open_turn: _OpenTurn | None = None

    def tick(self, played: bytes, cleared: bool = False, listening: bool = True) -> CallerFrame:
        """Process one frame. ``listening`` is false while Twilio or a callee talks to the caller."""
        self._on_playback(played, cleared)
        if not listening:
            self._waiting_since, self._prompt_onset = self._now, None
        if self._current_step is None and listening:
            self._maybe_start_step()
        frame = self._next_frame()
        self._now += FRAME_SAMPLES
        return frame

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
        self._waiting_since = min(self._waiting_since, self._now)  # audio that follows is for the caller

    def _measure_latency(self, turn: _OpenTurn) -> None:
        onset = self._detector.onset
        if onset < turn.voiced_start or (onset < turn.voiced_end and not self._is_reply(turn)):
            return
        latency = (onset - turn.voiced_end) * 1000 / SAMPLE_RATE
        self._close_turn(latency)
        self._on_event(GatewayReplied(self._to_seconds(onset), latency))

    def _is_reply(self, turn: _OpenTurn) -> bool:
        """Return whether audio that started before the end of the caller's turn is a reply."""
        after_cut = turn.prompt_cut_at is not None and self._detector.onset > turn.prompt_cut_at
        return after_cut or self._detector.last_audible >= turn.voiced_end + MIN_REPLY_SAMPLES

    def _maybe_start_step(self) -> None:
        if self.steps_done == len(self._steps):
            return
        self._track_gateway()
        step = self._steps[self.steps_done]
        waited = (self._now - self._waiting_since) / SAMPLE_RATE
        if waited >= step.source.max_wait_seconds or self._is_callers_turn(step.source.interrupt_after_seconds):
            self._start_step(step)

    def _track_gateway(self) -> None:
        detector, since = self._detector, self._waiting_since
        if self._prompt_onset is None and detector.onset >= since:
            self._prompt_onset = detector.onset
        elif self._prompt_onset is None and detector.last_audible >= since + MIN_REPLY_SAMPLES:
            self._prompt_onset = since  # it started before the end of the caller's step and continues

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
        step = self._current_step
        if step is None:
            return _SILENCE
        index = (self._now - self._step_start) // FRAME_SAMPLES
        if index + 1 >= step.frame_count:
            self._current_step = None
            self.steps_done += 1
        return CallerFrame(step.audio_frame(index), step.key_at(index), hangs_up=isinstance(step.source, HangUp))

    def _close_turn(self, latency_ms: float | None) -> None:
        turn, self._open_turn = self._open_turn, None
        if turn:
            self.turns.append(self._make_turn(turn, latency_ms))

    def _make_turn(self, turn: _OpenTurn, latency_ms: float | None) -> Turn:
        barge_in_ms = (
            None if turn.prompt_cut_at is None else (turn.prompt_cut_at - turn.voiced_start) * 1000 / SAMPLE_RATE
        )
        started_at, ended_at = self._to_seconds(turn.voiced_start), self._to_seconds(turn.voiced_end)
        return Turn(turn.kind, turn.text, started_at, ended_at, latency_ms, turn.interrupted, barge_in_ms)

    def finish(self) -> tuple[Turn, ...]:
        """Close the open turn and return all turns."""
        self._close_turn(None)
        return tuple(self.turns)

    def _to_seconds(self, position: int) -> float:
        return self._answered_at + position / SAMPLE_RATE


def _turn_kind(step: Step) -> TurnKind:
    if isinstance(step, PressKeys):
        return "keys"
    return "noise" if isinstance(step, MakeNoise) else "speech"


_SILENCE = CallerFrame()
